{{/* The settings of the binary. Numbers go through int64: Helm reads them as floats, and 1048576 would be 1.048576e+06. */}}
{{- define "chat.env" -}}
{{ include "chat.ownEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "chat.ownEnv" -}}
{{- $name := include "chat.fullname" . -}}
- name: LISTEN_ADDR
  value: "[::]:8080"
- name: OPS_LISTEN_ADDR
  value: "[::]:9090"
- name: DRAIN_SECONDS
  value: {{ .Values.drain.seconds | int64 | quote }}
{{- if include "chat.clustered" . }}
- name: DATABASE_URL
  {{- include "chat.secretRef" (dict "part" .Values.database "own" $name "key" "DATABASE_URL") | nindent 2 }}
- name: REDIS_URL
  {{- include "chat.secretRef" (dict "part" .Values.redis "own" $name "key" "REDIS_URL") | nindent 2 }}
{{- include "chat.databaseTls" . }}
{{- if include "chat.hasCa" .Values.redis }}
- name: SSL_CERT_FILE # the authorities of every TLS that has none of its own
  value: /etc/chat-gateway/redis-ca/ca.crt
{{- end }}
{{- else }}
- name: DATA_DIR
  value: /data
{{- end }}
{{- if or .Values.tokens.secret .Values.tokens.existingSecret.name }}
- name: JWT_SECRET
  {{- include "chat.secretRef" (dict "part" .Values.tokens "own" $name "key" "JWT_SECRET") | nindent 2 }}
{{- end }}
{{- with include "chat.hosts" . }}
- name: ALLOWED_HOSTS
  value: {{ . | quote }}
{{- end }}
{{- range $key, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $key }}
  {{- if kindIs "slice" $value }}
  value: {{ join "," $value | quote }}
  {{- else if or (kindIs "float64" $value) (kindIs "int64" $value) (kindIs "int" $value) }}
  value: {{ $value | int64 | quote }}
  {{- else }}
  value: {{ $value | toString | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- if .Values.otlp.endpoint }}
{{ include "chat.otlpEnv" . }}
{{- end }}
{{- end }}

{{/* The standard variables of libpq. A certificate authority that is given is there to be verified against. */}}
{{- define "chat.databaseTls" -}}
{{- $ca := include "chat.hasCa" .Values.database -}}
{{- with .Values.database.tls.mode | default (ternary "verify-full" "" (eq $ca "true")) }}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if $ca }}
- name: PGSSLROOTCERT
  value: /etc/chat-gateway/database-ca/ca.crt
{{- end }}
{{- end }}

{{/* The names by which clients come, where all of them are known, and the Service's own; `settings` go before. */}}
{{- define "chat.hosts" -}}
{{- $ingress := and .Values.ingress.enabled .Values.ingress.hosts -}}
{{- $route := and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- $any := and .Values.httpRoute.enabled (not .Values.httpRoute.hostnames) -}}
{{- if and (or $ingress $route) (not $any) (not (hasKey .Values.settings "ALLOWED_HOSTS")) -}}
{{- $names := list -}}
{{- if $ingress -}}{{- $names = concat $names .Values.ingress.hosts -}}{{- end -}}
{{- if $route -}}{{- $names = concat $names .Values.httpRoute.hostnames -}}{{- end -}}
{{- $service := include "chat.fullname" . -}}
{{- range list "" ".%s" ".%s.svc" ".%s.svc.cluster.local" -}}
{{- $names = append $names (printf "%s%s" $service (. | replace "%s" $.Release.Namespace)) -}}
{{- end -}}
{{- $names | uniq | join "," -}}
{{- end -}}
{{- end }}
