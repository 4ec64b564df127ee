{{/* hook, job or none; `enabled: false` is how one said none before there was `mode`. */}}
{{- define "chat.migrations" -}}
{{- $m := .Values.migrations -}}
{{- if not (include "chat.clustered" .) }}none{{ else if eq (toString $m.enabled) "false" }}none{{ else }}{{ $m.mode }}{{ end -}}
{{- end }}

{{/* A container that runs `chat-gateway migrate`: a dict of the context, its name, its arguments, the part of the values that
   says where its URL is, and which Secret of the chart's own has it else. */}}
{{- define "chat.migrator" -}}
{{- $v := .context.Values -}}
name: {{ .name }}
image: {{ include "chat.image" .context | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
args: {{ toJson .args }}
env:
  - name: DATABASE_URL
    {{- include "chat.secretRef" (dict "part" .from "own" .secret "key" "DATABASE_URL") | nindent 4 }}
  {{- include "chat.databaseTls" .context | nindent 2 }}
  {{- with $v.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $v.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.terminationMessagePolicy }}
terminationMessagePolicy: {{ . }}
{{- end }}
resources:
  {{- toYaml $v.migrations.resources | nindent 2 }}
{{- include "chat.containerSecurity" .context }}
{{- with include "chat.volumeMounts" (dict "context" .context "component" "migrate") | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the Job does; its name in the mode `job` is made of this. */}}
{{- define "chat.migration" -}}
{{- $m := .Values.migrations -}}
{{- $hook := eq (include "chat.migrations" .) "hook" -}}
{{- $name := include "chat.fullname" . -}}
backoffLimit: {{ $m.backoffLimit | int }}
activeDeadlineSeconds: {{ $m.deadlineSeconds | int }}
{{- if not (or $hook (kindIs "invalid" $m.ttlSecondsAfterFinished)) }}
ttlSecondsAfterFinished: {{ $m.ttlSecondsAfterFinished | int }}
{{- end }}
template:
  metadata:
    {{- $own := dict "labels" $m.podLabels "annotations" $m.podAnnotations }}
    {{- include "chat.podMetadata" (merge (dict "context" . "component" "migrate") $own) | nindent 4 }}
  spec:
    restartPolicy: Never
    {{- if or (not $hook) (not .Values.serviceAccount.create) }}
    serviceAccountName: {{ include "chat.serviceAccountName" . }}
    {{- end }}{{/* else the account that the chart makes comes after this hook, and there is no use for one */}}
    automountServiceAccountToken: {{ .Values.serviceAccount.mountToken }}
    enableServiceLinks: false
    {{- include "chat.podSecurity" . | indent 4 }}
    {{- with include "chat.placement" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $m.initContainers }}
    initContainers:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      {{- $secret := ternary (printf "%s-migrate-env" $name) $name $hook }}
      {{- $from := ternary $m .Values.database (ne $m.existingSecret.name "") }}
      {{- $container := include "chat.migrator" (dict "context" . "name" "migrate" "args" (list "migrate") "from" $from "secret" $secret) }}
      - {{- $container | nindent 8 | trimPrefix "\n       " }}
    {{- with include "chat.volumes" (dict "context" . "component" "migrate") | trim }}
    volumes:
      {{- . | nindent 6 }}
    {{- end }}
{{- end }}
