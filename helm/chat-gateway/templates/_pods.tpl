{{/* What every pod of the chart has: where it runs, by which names it finds others, and what its images are pulled with. */}}
{{- define "chat.placement" -}}
{{- $set := dict -}}
{{- range $key := list "affinity" "dnsConfig" "dnsPolicy" "hostAliases" "nodeSelector" "priorityClassName" "runtimeClassName" "schedulerName" "tolerations" -}}
{{- with index $.Values $key -}}{{- $_ := set $set $key . -}}{{- end -}}
{{- end -}}
{{- if not (kindIs "invalid" .Values.hostUsers) -}}{{- $_ := set $set "hostUsers" .Values.hostUsers -}}{{- end -}}
{{- $secrets := list -}}
{{- range concat (dig "imagePullSecrets" list (.Values.global | default dict)) .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with $secrets -}}{{- $_ := set $set "imagePullSecrets" (uniq .) -}}{{- end -}}
{{- with $set }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* An image, from the registry that all images of an umbrella chart come from where there is one: a dict of the context and
   the image. What is before the first / is a registry where it has a dot or a port, as everywhere. */}}
{{- define "chat.fromRegistry" -}}
{{- $registry := dig "imageRegistry" "" (.context.Values.global | default dict) -}}
{{- if $registry -}}
{{ $registry | trimSuffix "/" }}/{{ regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" .image "" }}
{{- else -}}
{{ .image }}
{{- end -}}
{{- end }}

{{/* A probe: a dict of its path and of the values' numbers. */}}
{{- define "chat.probe" -}}
httpGet: { path: {{ .path }}, port: ops }
{{- range $key, $number := .numbers }}
{{ $key }}: {{ int $number }}
{{- end }}
{{- end }}
