{{- define "chat.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for the longest suffix ("-migrate-env") within the 63 characters of a DNS label. */}}
{{- define "chat.fullname" -}}
{{- $name := include "chat.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* What Prometheus calls the release. */}}
{{- define "chat.job" -}}
{{- $name := include "chat.fullname" . -}}
{{ ternary $name (printf "%s-chat-gateway" $name) (contains "chat-gateway" $name) }}
{{- end }}

{{- define "chat.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "chat.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What selectors match; a label added here could never be changed. */}}
{{- define "chat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "chat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chat.labels" -}}
{{ include "chat.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "chat.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* "true" where the replicas share Postgres and Redis, "" where one runs alone. */}}
{{- define "chat.clustered" -}}
{{- if or .Values.database.url .Values.database.existingSecret.name }}true{{ end -}}
{{- end }}

{{- define "chat.replicas" -}}
{{ .Values.replicas | default (ternary 3 1 (eq (include "chat.clustered" .) "true")) | int }}
{{- end }}

{{/* Until Kubernetes kills a replica: serving on, draining, and what is left: the server gives its last sessions
   ten seconds, its last commits ten more, and telemetry six. */}}
{{- define "chat.gracePeriod" -}}
{{- $needed := add .Values.drain.preStopSeconds .Values.drain.seconds 30 -}}
{{ .Values.drain.gracePeriodSeconds | default $needed | int }}
{{- end }}

{{/* Where a secret value comes from: a dict of the context, the part of the values and what the chart's Secret is called. */}}
{{- define "chat.secretRef" -}}
valueFrom:
  secretKeyRef:
    name: {{ .part.existingSecret.name | default .own }}
    key: {{ ternary .part.existingSecret.key .key (ne .part.existingSecret.name "") }}
{{- end }}

{{- define "chat.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "chat.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
