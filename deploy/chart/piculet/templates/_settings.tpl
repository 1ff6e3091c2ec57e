{{- /*
What the agent will make of its settings, as far as its objects depend on it. Variables win over the file, as they do in
the agent; an empty one is none, but for switches, where it means false.
*/}}

{{- define "piculet.protocol" -}}
{{- $server := default dict .Values.config.server }}
{{- if $server.protocol }}
{{- $server.protocol }}
{{- else if or .Values.woodpecker.WOODPECKER_SERVER .Values.woodpecker.WOODPECKER_AGENT_SECRET_FILE -}}
woodpecker
{{- else -}}
stream
{{- end }}
{{- end }}

{{- define "piculet.serverAddress" -}}
{{- $server := default dict .Values.config.server }}
{{- $variable := "" }}
{{- if eq (include "piculet.protocol" .) "woodpecker" }}
{{- $variable = default "" .Values.woodpecker.WOODPECKER_SERVER }}
{{- end }}
{{- if and $variable $server.address }}
{{- fail "the server is given twice: in config.server.address and in woodpecker.WOODPECKER_SERVER" }}
{{- end }}
{{- required "which server? Give config.server.address, or woodpecker.WOODPECKER_SERVER" (default $server.address $variable) }}
{{- end }}

{{- /* Empty where it is no number: a socket, or a target of gRPC without one. */}}
{{- define "piculet.serverPort" -}}
{{- $address := include "piculet.serverAddress" . }}
{{- if hasPrefix "unix:" $address }}
{{- else if regexMatch ":[0-9]+/?$" $address }}
{{- $address | trimSuffix "/" | regexFind "[0-9]+$" }}
{{- else if hasPrefix "http://" $address }}80
{{- else }}443
{{- end }}
{{- end }}

{{- /* "true" if what is said to the server can be read on its way. */}}
{{- define "piculet.isExposed" -}}
{{- $address := include "piculet.serverAddress" . }}
{{- $tls := (default dict .Values.config.server).tls }}
{{- if hasKey .Values.woodpecker "WOODPECKER_GRPC_SECURE" }}
{{- $tls = .Values.woodpecker.WOODPECKER_GRPC_SECURE }}
{{- end }}
{{- $isEncrypted := has (toString $tls) (list "true" "1" "t" "T" "TRUE" "True") }}
{{- if hasPrefix "http://" $address }}true
{{- else if not (or $isEncrypted (hasPrefix "https://" $address) (hasPrefix "unix:" $address)) }}true
{{- end }}
{{- end }}

{{- define "piculet.stepsNamespace" -}}
{{- default .Values.config.pods.namespace .Values.woodpecker.WOODPECKER_BACKEND_K8S_NAMESPACE }}
{{- end }}

{{- /* "true", or empty. */}}
{{- define "piculet.isPerOrganization" -}}
{{- $variables := .Values.woodpecker }}
{{- $given := .Values.config.pods.namespace_per_organization }}
{{- if hasKey $variables "WOODPECKER_BACKEND_K8S_NAMESPACE_PER_ORGANIZATION" }}
{{- $given = $variables.WOODPECKER_BACKEND_K8S_NAMESPACE_PER_ORGANIZATION }}
{{- end }}
{{- if has (toString $given) (list "true" "1" "t" "T" "TRUE" "True") }}true{{ end }}
{{- end }}

{{- define "piculet.adminAddress" -}}
{{- $variables := .Values.woodpecker }}
{{- $switch := "true" }}
{{- if hasKey $variables "WOODPECKER_HEALTHCHECK" }}
{{- $switch = toString $variables.WOODPECKER_HEALTHCHECK }}
{{- end }}
{{- if has $switch (list "" "false" "0" "f" "F" "FALSE" "False") }}off
{{- else }}
{{- default (default ":3000" (default dict .Values.config.admin).address) $variables.WOODPECKER_HEALTHCHECK_ADDR }}
{{- end }}
{{- end }}

{{- /* Empty if health and metrics are served nowhere. */}}
{{- define "piculet.adminPort" -}}
{{- $address := include "piculet.adminAddress" . }}
{{- if ne $address "off" }}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\])?:[0-9]+$" $address) }}
{{- fail (printf "health and metrics at %q can't be reached from outside the pod; write :3000, or off" $address) }}
{{- end }}
{{- regexFind "[0-9]+$" $address }}
{{- end }}
{{- end }}

{{- /* A number as it was written: large ones would become 1e+09. */}}
{{- define "piculet.written" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ int64 . }}{{ end }}
{{- end }}

{{- /* A duration in seconds: a number, or 1h 30m. */}}
{{- define "piculet.seconds" -}}
{{- $text := include "piculet.written" . }}
{{- if regexMatch "^[0-9]+$" $text }}
{{- $text }}
{{- else }}
{{- $seconds := 0 }}
{{- range regexFindAll "[0-9]+[hms]" $text -1 }}
{{- $seconds = add $seconds (mul (regexFind "[0-9]+" .) (get (dict "h" 3600 "m" 60 "s" 1) (regexFind "[hms]" .))) }}
{{- end }}
{{- $seconds }}
{{- end }}
{{- end }}

{{- /*
After the time to drain the agent takes 30 s for its last reports. With a Woodpecker server it then cancels what still
runs, which takes the steps' own grace and 30 s more. The rest is for the kubelet.
*/}}
{{- define "piculet.grace" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) }}
{{- int64 .Values.terminationGracePeriodSeconds }}
{{- else }}
{{- $seconds := add (include "piculet.seconds" (default dict .Values.config.shutdown).drain_timeout) 45 }}
{{- if eq (include "piculet.protocol" .) "woodpecker" }}
{{- $steps := default 20 .Values.config.pods.stop_timeout_seconds }}
{{- $seconds = add $seconds 30 (default $steps .Values.woodpecker.WOODPECKER_BACKEND_K8S_STOP_TIMEOUT) }}
{{- end }}
{{- $seconds }}
{{- end }}
{{- end }}

{{- /* The size of the volume for log lines, in bytes; empty: none. */}}
{{- define "piculet.spoolLimit" -}}
{{- $logs := default dict .Values.config.logs }}
{{- $size := include "piculet.written" $logs.disk }}
{{- $factor := get (dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) (regexFind "[KMG]i$" $size) }}
{{- $bytes := mul (regexFind "^[0-9]+" $size) $factor }}
{{- if and $logs.directory (gt (int64 $bytes) 0) }}
{{- /* A pod that goes beyond the limit is evicted, and file systems need room of their own. */}}
{{- add $bytes (div $bytes 8) 16777216 }}
{{- end }}
{{- end }}

{{- /* The configuration file: what the values say, and where the chart puts the files that it mounts. */}}
{{- define "piculet.configurationFile" -}}
{{- $server := dict "protocol" (include "piculet.protocol" .) }}
{{- if eq (include "piculet.protocol" .) "woodpecker" }}
{{- /* A replica has no file that outlives it: without one it signs off at the server when it ends. */}}
{{- $_ := set $server "id_file" "" }}
{{- end }}
{{- if include "piculet.tokenSecret" . }}
{{- $_ := set $server "token_file" "/etc/piculet/token/token" }}
{{- end }}
{{- if or .Values.tls.authority.configMap .Values.tls.authority.secret }}
{{- $_ := set $server "ca_file" "/etc/piculet/authority/ca.crt" }}
{{- end }}
{{- if .Values.tls.clientSecret }}
{{- $_ := set $server "certificate_file" "/etc/piculet/client/tls.crt" }}
{{- $_ := set $server "key_file" "/etc/piculet/client/tls.key" }}
{{- end }}
{{- $config := deepCopy .Values.config }}
{{- if not (include "piculet.spoolLimit" .) }}
{{- $_ := set $config "logs" (omit (default dict $config.logs) "directory") }}
{{- end }}
{{- mustMergeOverwrite (dict "server" $server) $config | toYaml }}
{{- end }}
