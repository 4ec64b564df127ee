{{/* Egress to where names are resolved. A policy sees the port of the pod that answers, which is not everywhere the Service's. */}}
{{- define "chat.egress.names" -}}
- ports: # names
    {{- range .Values.networkPolicy.dnsPorts }}
    - { protocol: UDP, port: {{ int . }} }
    - { protocol: TCP, port: {{ int . }} }
    {{- end }}
{{- end }}

{{- define "chat.egress.servers" -}}
{{- $policy := .Values.networkPolicy -}}
- ports:
    - { protocol: TCP, port: {{ int $policy.databasePort }} }
    - { protocol: TCP, port: {{ int $policy.redisPort }} }
  {{- with $policy.servers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
