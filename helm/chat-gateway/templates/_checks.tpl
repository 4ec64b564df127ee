{{/* Values that are each allowed and do not fit together end the render with a sentence that says what to set. */}}
{{- define "chat.checks" -}}
{{- $v := .Values -}}
{{- $database := or $v.database.url $v.database.existingSecret.name -}}
{{- $redis := or $v.redis.url $v.redis.existingSecret.name -}}
{{- $tokens := or $v.tokens.secret $v.tokens.existingSecret.name -}}
{{- if and $database (not $redis) -}}
{{- fail "database is set but redis is not: replicas need both, a single embedded one neither" -}}
{{- end -}}
{{- if and $redis (not $database) -}}
{{- fail "redis is set but database is not: replicas need both, a single embedded one neither" -}}
{{- end -}}
{{- if and $database (not $tokens) -}}
{{- fail "set tokens.existingSecret.name or tokens.secret: replicas sign tokens with the same key, of 32 bytes or more" -}}
{{- end -}}
{{- if and $v.tokens.secret (lt (len $v.tokens.secret) 32) -}}
{{- fail (printf "tokens.secret has %d bytes, set one of 32 or more" (len $v.tokens.secret)) -}}
{{- end -}}
{{- if or (and $v.database.url $v.database.existingSecret.name) (and $v.redis.url $v.redis.existingSecret.name) (and $v.tokens.secret $v.tokens.existingSecret.name) -}}
{{- fail "of database, redis and tokens give each by value or by existingSecret, not both" -}}
{{- end -}}
{{- $needed := add $v.drain.preStopSeconds $v.drain.seconds 30 | int -}}
{{- if lt (include "chat.gracePeriod" . | int) $needed -}}
{{- fail (printf "drain.gracePeriodSeconds is %s, but preStopSeconds, seconds and 30 for what is left make %d: raise it, unset it or drain faster" (include "chat.gracePeriod" .) $needed) -}}
{{- end -}}
{{- if not $database -}}
{{- if $v.autoscaling.enabled -}}
{{- fail "autoscaling needs database and redis: an embedded replica is alone" -}}
{{- end -}}
{{- if gt (include "chat.replicas" . | int) 1 -}}
{{- fail (printf "replicas is %s, but an embedded replica is alone: set database and redis" (include "chat.replicas" .)) -}}
{{- end -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (or $v.autoscaling.cpuPercent $v.autoscaling.sessions) -}}
{{- fail "autoscaling has nothing to go by: set autoscaling.cpuPercent or autoscaling.sessions" -}}
{{- end -}}
{{- end -}}
{{- $ping := $v.settings.PING_SECONDS | default 25 | int -}}
{{- $idle := $v.settings.IDLE_SECONDS | default 60 | int -}}
{{- if le $idle $ping -}}
{{- fail (printf "settings.IDLE_SECONDS (%d) has to be longer than settings.PING_SECONDS (%d)" $idle $ping) -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress is on without a host: set ingress.hosts" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute is on without a Gateway: set httpRoute.parentRefs" -}}
{{- end -}}
{{- end }}
