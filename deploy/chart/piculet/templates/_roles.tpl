{{- /*
Roles where steps run, and their bindings: of a component (component), with these rules (rules), for this account (account).
*/}}
{{- define "piculet.rolesOnSteps" -}}
{{- $component := .component }}
{{- $rules := .rules }}
{{- $account := .account }}
{{- with .root }}
{{- if and (include "piculet.isPerOrganization" .) (not .Values.rbac.namespaces) }}
---
# Namespaces of organizations are made when their first workflow comes, so their names are not known before.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "piculet.uniqueName" . }}.{{ $component }}
  labels:
    {{- include "piculet.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
rules:
  {{- $rules | nindent 2 }}
  {{- if eq $component "steps" }}
  - apiGroups: [""]
    resources: [namespaces]
    verbs: [get, create]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "piculet.uniqueName" . }}.{{ $component }}
  labels:
    {{- include "piculet.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "piculet.uniqueName" . }}.{{ $component }}
subjects:
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ .Release.Namespace }}
{{- else }}
{{- /* The agent watches the first one even if its workflows run in the others: it isn't ready before. */}}
{{- $root := . }}
{{- range $namespace := prepend .Values.rbac.namespaces (include "piculet.stepsNamespace" .) | uniq }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "piculet.uniqueName" $root }}.{{ $component }}
  namespace: {{ $namespace }}
  labels:
    {{- include "piculet.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
rules:
  {{- $rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "piculet.uniqueName" $root }}.{{ $component }}
  namespace: {{ $namespace }}
  labels:
    {{- include "piculet.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "piculet.uniqueName" $root }}.{{ $component }}
subjects:
  - kind: ServiceAccount
    name: {{ $account }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
