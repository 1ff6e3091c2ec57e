{{- /* "true" if agents end, and all that runs, before the release goes. Without roles of ours nobody could end them. */}}
{{- define "piculet.reapsOnUninstall" -}}
{{- if and .Values.reap.onUninstall .Values.rbac.create }}true{{ end }}
{{- end }}

{{- define "piculet.reaper" -}}
{{ include "piculet.fullname" . }}-reap
{{- end }}

{{- /* The pods of `piculet reap` with these arguments (arguments). The agents' labels are not theirs. */}}
{{- define "piculet.reaperPod" -}}
{{- $arguments := .arguments }}
{{- with .root -}}
metadata:
  labels:
    app.kubernetes.io/name: {{ include "piculet.name" . }}-reap
    app.kubernetes.io/instance: {{ .Release.Name }}
spec:
  serviceAccountName: {{ include "piculet.reaper" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  restartPolicy: Never
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: reap
      image: {{ include "piculet.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [{{ concat (list "reap" "--config" "/etc/piculet/config/piculet.yaml") $arguments | join ", " }}]
      {{- with .Values.woodpecker }}
      env:
        {{- range $name, $value := . }}
        - name: {{ $name }}
          value: {{ toString $value | quote }}
        {{- end }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/piculet/config
          readOnly: true
  volumes:
    - name: config
      configMap:
        name: {{ include "piculet.fullname" . }}-config
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
