{{/* As _checks.tpl, of the values that say how Kubernetes and what is in it are used. */}}
{{- define "chat.checkPlatform" -}}
{{- include "chat.checkMigrations" .Values.migrations -}}
{{- if and .Values.migrations.existingSecret.name (eq (include "chat.migrations" .) "none") -}}
{{- fail "migrations.existingSecret is set, but the chart migrates nothing: migrations.mode is none, or there is no database" -}}
{{- end -}}
{{- include "chat.checkService" .Values.service -}}
{{- include "chat.checkMonitors" .Values -}}
{{- include "chat.checkLabels" .Values -}}
{{- include "chat.checkContainers" . -}}
{{- include "chat.checkVolumes" . -}}
{{- include "chat.checkBudget" . -}}
{{- if and (eq .Values.dnsPolicy "None") (not .Values.dnsConfig.nameservers) -}}
{{- fail "dnsPolicy is None, but nobody is left to ask for names: set dnsConfig.nameservers" -}}
{{- end -}}
{{- end }}

{{- define "chat.checkMigrations" -}}
{{- if and (eq (toString .enabled) "true") (eq .mode "none") -}}
{{- fail "migrations.enabled is true, but migrations.mode is none: leave `enabled`, which is of older values, out" -}}
{{- end -}}
{{- if and (eq (toString .enabled) "false") (eq .mode "job") -}}
{{- fail "migrations.enabled is false, but migrations.mode is job: leave `enabled`, which is of older values, out" -}}
{{- end -}}
{{- if and (ne .mode "job") (not (kindIs "invalid" .ttlSecondsAfterFinished)) -}}
{{- fail (printf "migrations.ttlSecondsAfterFinished is set, but migrations.mode is %s: it is for a Job that no hook removes" .mode) -}}
{{- end -}}
{{- end }}

{{/* Who scales by other means than the chart's knows how few there may be. */}}
{{- define "chat.checkBudget" -}}
{{- $least := .Values.podDisruptionBudget.minAvailable -}}
{{- $replicas := ternary .Values.autoscaling.minReplicas (include "chat.replicas" .) .Values.autoscaling.enabled | int -}}
{{- $known := and (or (kindIs "float64" $least) (kindIs "int64" $least)) (not .Values.autoscaling.external) -}}
{{- if and $known (gt $replicas 1) (ge (int $least) $replicas) -}}
{{- fail (printf "podDisruptionBudget.minAvailable is %d, and there may be no more than %d replicas: no node could be drained" (int $least) $replicas) -}}
{{- end -}}
{{- end }}

{{- define "chat.checkService" -}}
{{- $service := . -}}
{{- if eq .type "ClusterIP" -}}
{{- range list "nodePort" "externalTrafficPolicy" -}}
{{- if index $service . -}}
{{- fail (printf "service.%s is set, but service.type is ClusterIP: it is for NodePort and LoadBalancer" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne .type "LoadBalancer" -}}
{{- range list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if index $service . -}}
{{- fail (printf "service.%s is set, but service.type is %s: it is for LoadBalancer" . $service.type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "chat.checkMonitors" -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor are both on: every replica would be scraped twice, switch one off" -}}
{{- end -}}
{{- $ms := dict "ms" 1 "s" 1000 "m" 60000 -}}
{{- range $name := list "serviceMonitor" "podMonitor" -}}
{{- $monitor := index $ $name -}}
{{- if $monitor.scrapeTimeout -}}
{{- $both := list -}}
{{- range list $monitor.scrapeTimeout $monitor.interval -}}
{{- $both = append $both (mul (regexFind "^[0-9]+" . | int) (index $ms (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- if gt (first $both) (last $both) -}}
{{- fail (printf "%s.scrapeTimeout is %s, longer than its interval, %s" $name $monitor.scrapeTimeout $monitor.interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What selectors go by is the chart's. */}}
{{- define "chat.checkLabels" -}}
{{- $parts := dict "commonLabels" .commonLabels "podLabels" .podLabels "deploymentLabels" .deploymentLabels "service.labels" .service.labels "migrations.labels" .migrations.labels "migrations.podLabels" .migrations.podLabels "test.podLabels" .test.podLabels -}}
{{- range $part, $labels := $parts -}}
{{- range list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- if hasKey $labels . -}}
{{- fail (printf "%s sets %s, by which the chart finds its pods: give it another name" $part .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "chat.checkContainers" -}}
{{- $v := .Values -}}
{{- $pods := dict "initContainers or extraContainers" (concat $v.initContainers $v.extraContainers) "migrations.initContainers" $v.migrations.initContainers -}}
{{- range $part, $containers := $pods -}}
{{- $taken := list "chat-gateway" "migrate" "wait-for-schema" -}}
{{- range $containers -}}
{{- if has .name $taken -}}
{{- fail (printf "%s has a container %s, and so has the pod already: give it another name" $part .name) -}}
{{- end -}}
{{- $taken = append $taken .name -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "chat.checkVolumes" -}}
{{- $volumes := list -}}
{{- range include "chat.volumes" (dict "context" . "component" "server") | fromYamlArray -}}
{{- if has .name $volumes -}}
{{- fail (printf "extraVolumes has a volume %s, and so has the pod already: give it another name" .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "extraVolumeMounts mounts %s, which is no volume: add it to extraVolumes" .name) -}}
{{- end -}}
{{- end -}}
{{- end }}
