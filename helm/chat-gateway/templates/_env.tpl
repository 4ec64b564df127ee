{{/* The settings of the binary. Numbers go through int64: Helm reads them as floats, and 1048576 would be 1.048576e+06. */}}
{{- define "chat.env" -}}
{{- $name := include "chat.fullname" . -}}
- name: LISTEN_ADDR
  value: 0.0.0.0:8080
- name: OPS_LISTEN_ADDR
  value: 0.0.0.0:9090
- name: DRAIN_SECONDS
  value: {{ .Values.drain.seconds | int64 | quote }}
{{- if include "chat.clustered" . }}
- name: DATABASE_URL
  {{- include "chat.secretRef" (dict "part" .Values.database "own" $name "key" "DATABASE_URL") | nindent 2 }}
- name: REDIS_URL
  {{- include "chat.secretRef" (dict "part" .Values.redis "own" $name "key" "REDIS_URL") | nindent 2 }}
- name: JWT_SECRET
  {{- include "chat.secretRef" (dict "part" .Values.tokens "own" $name "key" "JWT_SECRET") | nindent 2 }}
{{- else }}
- name: DATA_DIR
  value: /data
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
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.otlp.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .Values.otlp.protocol }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.otlp.sampleRatio | toString | quote }}
- name: K8S_POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: K8S_NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
- name: OTEL_RESOURCE_ATTRIBUTES
  value: service.version={{ .Values.image.tag | default .Chart.AppVersion }},service.instance.id=$(K8S_POD_NAME),k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(K8S_POD_NAME),k8s.node.name=$(K8S_NODE_NAME)
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
