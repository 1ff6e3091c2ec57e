{{- /* What the agent does where steps run. */}}
{{- define "piculet.rightsOnSteps" -}}
# Without these no workflow runs.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Beside creating: whose an object is that is there already (get), and what is left when a workflow ends (list, delete).
- apiGroups: [""]
  resources: [persistentvolumeclaims, services, secrets]
  verbs: [create, get, list, delete]
# The anchor that owns what a workflow makes; an agent that takes a workflow over writes that into it (patch).
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, get, list, patch, delete]
# Why a pod waits, where the pod itself does not say.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
{{- if eq (include "piculet.isolation" .) "isolated" }}
# What keeps each workflow apart from others.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, get, list, delete]
{{- end }}
{{- end }}

{{- define "piculet.isolation" -}}
{{- $pods := default dict .Values.config.pods }}
{{- default "off" (default dict $pods.network_policy).mode }}
{{- end }}

{{- define "piculet.subjects" -}}
- kind: ServiceAccount
  name: {{ include "piculet.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* What `piculet reap` does there. */}}
{{- define "piculet.rightsOfReaper" -}}
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims, services, secrets, configmaps]
  verbs: [list, delete]
{{- if eq (include "piculet.isolation" .) "isolated" }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, delete]
{{- end }}
{{- end }}
