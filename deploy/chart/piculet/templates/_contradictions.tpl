{{- /* What the schema can't say in a sentence that helps. */}}
{{- define "piculet.refuseContradictions" -}}
{{- if and .Values.token.existingSecret .Values.token.value }}
{{- fail "the token is given twice: in token.existingSecret and in token.value" }}
{{- end }}
{{- if and .Values.tls.authority.configMap .Values.tls.authority.secret }}
{{- fail "the authority is given twice: in tls.authority.configMap and in tls.authority.secret" }}
{{- end }}
{{- if hasKey .Values.woodpecker "WOODPECKER_AGENT_SECRET" }}
{{- fail "WOODPECKER_AGENT_SECRET is a secret, and everybody who may look at the Deployment could read it: use token" }}
{{- end }}
{{- if and .Values.rbac.namespaces (not (include "piculet.isPerOrganization" .)) }}
{{- fail "rbac.namespaces are those of organizations, and config.pods.namespace_per_organization is off" }}
{{- end }}
{{- range .Values.env }}
{{- if hasPrefix "PICULET_" .name }}
{{- fail (printf "%s has a place in config, which ports, rights and the pod's grace follow" .name) }}
{{- else if hasPrefix "WOODPECKER_" .name }}
{{- fail (printf "%s has a place in woodpecker, which ports, rights and the pod's grace follow" .name) }}
{{- end }}
{{- end }}
{{- end }}
