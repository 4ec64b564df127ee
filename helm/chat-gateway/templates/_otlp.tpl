{{/* "true" where metrics go out by OTLP: where it is said, or where nothing else reads them. */}}
{{- define "chat.otlpMetrics" -}}
{{- if kindIs "invalid" .Values.otlp.metrics -}}
{{- if not (or .Values.serviceMonitor.enabled .Values.podMonitor.enabled) }}true{{ end -}}
{{- else if .Values.otlp.metrics }}true{{ end -}}
{{- end }}

{{/* The standard variables of OpenTelemetry, and what Kubernetes knows of the replica by the semantic conventions. */}}
{{- define "chat.otlpEnv" -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.otlp.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .Values.otlp.protocol }}
{{- if .Values.otlp.traces }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.otlp.sampleRatio | toString | quote }}
{{- else }}
- name: OTEL_TRACES_EXPORTER
  value: none
{{- end }}
{{- if not (include "chat.otlpMetrics" .) }}
- name: OTEL_METRICS_EXPORTER
  value: none
{{- end }}
{{- with .Values.otlp.headers }}
{{- if .secretName }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom: { secretKeyRef: { name: {{ .secretName }}, key: {{ .key }} } }
{{- end }}
{{- end }}
{{- if include "chat.hasCa" .Values.otlp }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/chat-gateway/otlp-ca/ca.crt
{{- end }}
{{- if .Values.otlp.tls.clientSecretName }}
- name: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE
  value: /etc/chat-gateway/otlp-client/tls.crt
- name: OTEL_EXPORTER_OTLP_CLIENT_KEY
  value: /etc/chat-gateway/otlp-client/tls.key
{{- end }}
- name: K8S_POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: K8S_POD_UID
  valueFrom: { fieldRef: { fieldPath: metadata.uid } }
- name: K8S_NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
{{- $attributes := dict
  "service.namespace" .Release.Namespace
  "service.version" (include "chat.version" .)
  "service.instance.id" "$(K8S_POD_NAME)"
  "k8s.namespace.name" .Release.Namespace
  "k8s.deployment.name" (include "chat.fullname" .)
  "k8s.pod.name" "$(K8S_POD_NAME)"
  "k8s.pod.uid" "$(K8S_POD_UID)"
  "k8s.container.name" "chat-gateway"
  "k8s.node.name" "$(K8S_NODE_NAME)" }}
{{- $pairs := list }}
{{- range $key, $value := mergeOverwrite $attributes .Values.otlp.resourceAttributes }}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $pairs | quote }}
{{- end }}
