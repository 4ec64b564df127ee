{{/* What the chart itself mounts, for the component "server" or "migrate": a dict of the context and the component. */}}
{{- define "chat.volumes" -}}
{{- $v := .context.Values -}}
{{- if include "chat.hasCa" $v.database }}
{{ include "chat.authority" (dict "name" "database-ca" "from" $v.database.tls.ca) }}
{{- end }}
{{- if eq .component "server" }}
{{- if include "chat.hasCa" $v.redis }}
{{ include "chat.authority" (dict "name" "redis-ca" "from" $v.redis.tls.ca) }}
{{- end }}
{{- if include "chat.hasCa" $v.otlp }}
{{ include "chat.authority" (dict "name" "otlp-ca" "from" $v.otlp.tls.ca) }}
{{- end }}
{{- with $v.otlp.tls.clientSecretName }}
- name: otlp-client
  secret: { secretName: {{ . }} }
{{- end }}
{{- if not (include "chat.clustered" .context) }}
- name: data
  {{- if $v.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ $v.persistence.existingClaim | default (include "chat.fullname" .context) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "chat.volumeMounts" -}}
{{- $v := .context.Values -}}
{{- $names := list -}}
{{- if include "chat.hasCa" $v.database }}{{ $names = append $names "database-ca" }}{{ end -}}
{{- if eq .component "server" -}}
{{- if include "chat.hasCa" $v.redis }}{{ $names = append $names "redis-ca" }}{{ end -}}
{{- if include "chat.hasCa" $v.otlp }}{{ $names = append $names "otlp-ca" }}{{ end -}}
{{- if $v.otlp.tls.clientSecretName }}{{ $names = append $names "otlp-client" }}{{ end -}}
{{- end -}}
{{- range $names }}
- name: {{ . }}
  mountPath: /etc/chat-gateway/{{ . }}
  readOnly: true
{{- end }}
{{- if and (eq .component "server") (not (include "chat.clustered" .context)) }}
- name: data
  mountPath: /data
{{- end }}
{{- with $v.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A volume with one file, ca.crt. */}}
{{- define "chat.authority" -}}
- name: {{ .name }}
  {{- if .from.secretName }}
  secret:
    secretName: {{ .from.secretName }}
  {{- else }}
  configMap:
    name: {{ .from.configMapName }}
  {{- end }}
    items: [{ key: {{ .from.key | quote }}, path: ca.crt }]
{{- end }}

{{/* "true" where an authority is given: a part of the values, with its tls. */}}
{{- define "chat.hasCa" -}}
{{- with .tls.ca }}{{ if or .secretName .configMapName }}true{{ end }}{{ end -}}
{{- end }}
