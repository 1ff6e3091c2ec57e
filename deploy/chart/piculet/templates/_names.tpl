{{- define "piculet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* At most 52 characters: suffixes follow, and what a pod adds to its Deployment's name. */}}
{{- define "piculet.fullname" -}}
{{- $name := include "piculet.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* For what lies in no namespace, or in one that several releases share. */}}
{{- define "piculet.uniqueName" -}}
{{- printf "%s.%s" .Release.Namespace (include "piculet.fullname" .) }}
{{- end }}

{{- define "piculet.selectorLabels" -}}
app.kubernetes.io/name: {{ include "piculet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "piculet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "piculet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "piculet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "piculet.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- /* The account that everything uses which names none must not get these rights by an oversight. */}}
{{- required "which service account? Give serviceAccount.name, or let one be created" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "piculet.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "piculet.tokenSecret" -}}
{{- if .Values.token.existingSecret }}
{{- .Values.token.existingSecret }}
{{- else if .Values.token.value }}
{{- include "piculet.fullname" . }}-token
{{- else if not (or (default dict .Values.config.server).token_file .Values.woodpecker.WOODPECKER_AGENT_SECRET_FILE) }}
{{- fail "which token? Give token.existingSecret or token.value, or mount a file and name it in config.server.token_file" }}
{{- end }}
{{- end }}
