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

{{/* What runs, as far as it is known: a tag of one's own goes before the chart's version. */}}
{{- define "chat.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Of pods: nothing that differs between two versions of the chart with the same image, or a new chart would restart them. */}}
{{- define "chat.podLabels" -}}
{{ include "chat.selectorLabels" . }}
app.kubernetes.io/version: {{ include "chat.version" . | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "chat.labels" -}}
{{ include "chat.podLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The metadata of an object: a dict of the context, its name, and of namespace, labels and annotations what is
   its own. */}}
{{- define "chat.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- mergeOverwrite (include "chat.labels" .context | fromYaml) .context.Values.commonLabels (.labels | default dict) | toYaml | nindent 2 }}
{{- with mergeOverwrite (dict) .context.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The metadata of a pod: a dict of the context, its component, and of labels and annotations what is its own. */}}
{{- define "chat.podMetadata" -}}
{{- $component := dict "app.kubernetes.io/component" .component -}}
labels:
  {{- mergeOverwrite (include "chat.podLabels" .context | fromYaml) .context.Values.commonLabels .labels $component | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "chat.image" -}}
{{- $repository := include "chat.fromRegistry" (dict "context" . "image" .Values.image.repository) -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* "true" where the replicas share Postgres and Redis, "" where one runs alone. */}}
{{- define "chat.clustered" -}}
{{- if or .Values.database.url .Values.database.existingSecret.name }}true{{ end -}}
{{- end }}

{{/* "true" where the number of replicas is not the chart's. */}}
{{- define "chat.scaled" -}}
{{- if or .Values.autoscaling.enabled .Values.autoscaling.external }}true{{ end -}}
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

{{/* OpenShift refuses a user and groups that it has not given itself. */}}
{{- define "chat.podSecurity" -}}
{{- $context := .Values.podSecurityContext | default dict -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- if eq (get $context $key | toString) "65532" }}{{ $context = omit $context $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with $context }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "chat.containerSecurity" -}}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Of a Service. */}}
{{- define "chat.families" }}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: [{{ join ", " . }}]
{{- end }}
{{- end }}
