{{/* How a replica is scraped, for a monitor of either kind: a dict of the context and the monitor's values. */}}
{{- define "chat.scrape" -}}
port: ops
path: /metrics
interval: {{ .monitor.interval }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
  # Rules and dashboard find replicas by a job that has chat-gateway in its name, and call a replica by its instance.
  - { targetLabel: job, replacement: {{ include "chat.job" .context }} }
  - { sourceLabels: [__meta_kubernetes_pod_name], targetLabel: instance }
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
