{{/* Values that are each allowed and do not fit together end the render with a sentence that says what to set. */}}
{{- define "chat.checks" -}}
{{- $v := .Values -}}
{{- if hasPrefix "registry.example/" (include "chat.image" .) -}}
{{- fail (printf "the image is %s, a placeholder: build it, as deploy/release.md says (REGISTRY=… .ci/release, or docker build), and set image.repository to where it is" (include "chat.image" .)) -}}
{{- end -}}
{{- if not (regexMatch "^([A-Za-z0-9.-]+(:[0-9]+)?/|\\[[0-9A-Fa-f:]+\\](:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$" $v.image.repository) -}}
{{- fail (printf "image.repository is %s, which no image can be called: set it to a name like registry.test/team/chat-gateway, without https:// or oci:// and without the tag, which is image.tag" $v.image.repository) -}}
{{- end -}}
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
{{- if include "chat.scaled" . -}}
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
{{- if not (or $v.autoscaling.cpuPercent $v.autoscaling.sessions $v.autoscaling.metrics) -}}
{{- fail "autoscaling has nothing to go by: set autoscaling.cpuPercent, autoscaling.sessions or autoscaling.metrics" -}}
{{- end -}}
{{- end -}}
{{- if $v.autoscaling.external -}}
{{- if $v.autoscaling.enabled -}}
{{- fail "autoscaling is by the chart or external, not both: unset autoscaling.enabled or autoscaling.external" -}}
{{- end -}}
{{- if $v.replicas -}}
{{- fail "autoscaling.external leaves the number to another, and replicas says one: unset replicas" -}}
{{- end -}}
{{- end -}}
{{- if and (eq (trimSuffix "%" (toString $v.rollout.maxSurge)) "0") (eq (trimSuffix "%" (toString $v.rollout.maxUnavailable)) "0") -}}
{{- fail "rollout has no way on: set rollout.maxSurge or rollout.maxUnavailable to more than 0" -}}
{{- end -}}
{{- $ping := $v.settings.PING_SECONDS | default 25 | int -}}
{{- $idle := $v.settings.IDLE_SECONDS | default 60 | int -}}
{{- if le $idle $ping -}}
{{- fail (printf "settings.IDLE_SECONDS (%d) has to be longer than settings.PING_SECONDS (%d)" $idle $ping) -}}
{{- end -}}
{{- range $part, $ca := dict "database" $v.database.tls.ca "redis" $v.redis.tls.ca "otlp" $v.otlp.tls.ca -}}
{{- if and $ca.secretName $ca.configMapName -}}
{{- fail (printf "%s.tls.ca is given by secretName and by configMapName: one of them" $part) -}}
{{- end -}}
{{- end -}}
{{- $ca := include "chat.hasCa" .Values.database -}}
{{- $mode := $v.database.tls.mode -}}
{{- if and (or $ca $mode) (not $database) -}}
{{- fail "database.tls is set, but no database: an embedded replica has none to connect to" -}}
{{- end -}}
{{- if and (or $ca $mode) (regexMatch "[?&](sslmode|sslrootcert|ssl-mode|ssl-root-cert|ssl-ca)=" $v.database.url) -}}
{{- fail "database.url says how TLS is done, and so does database.tls: leave it to one of them" -}}
{{- end -}}
{{- if and $ca $mode (not (hasPrefix "verify-" $mode)) -}}
{{- fail (printf "database.tls.ca is not looked at with database.tls.mode %s: set verify-full, or no mode" $mode) -}}
{{- end -}}
{{- if include "chat.hasCa" $v.redis -}}
{{- if not $redis -}}
{{- fail "redis.tls is set, but no redis: an embedded replica has none to connect to" -}}
{{- end -}}
{{- if regexMatch "^(redis|valkey):" $v.redis.url -}}
{{- fail "redis.tls.ca is set, but redis.url is not rediss:// or valkeys://" -}}
{{- end -}}
{{- end -}}
{{- $otlp := $v.otlp -}}
{{- $otlpTls := or $otlp.tls.clientSecretName (include "chat.hasCa" .Values.otlp) -}}
{{- if and (or $otlpTls $otlp.headers.secretName) (not $otlp.endpoint) -}}
{{- fail "otlp.tls or otlp.headers is set, but nothing is sent: set otlp.endpoint" -}}
{{- end -}}
{{- if and $otlpTls (not (hasPrefix "https:" $otlp.endpoint)) -}}
{{- fail "otlp.tls is set, but otlp.endpoint is not https://" -}}
{{- end -}}
{{- if and (include "chat.hasCa" $v.redis) (hasPrefix "https:" $otlp.endpoint) (not (include "chat.hasCa" $otlp)) -}}
{{- fail "redis.tls.ca takes the place of the public authorities, which otlp.endpoint would be verified by: set otlp.tls.ca" -}}
{{- end -}}
{{- if and $otlp.endpoint (not $otlp.traces) (not (include "chat.otlpMetrics" .)) -}}
{{- fail "otlp sends neither traces nor metrics: unset otlp.endpoint, or set otlp.traces or otlp.metrics" -}}
{{- end -}}
{{- $max := $v.settings.MAX_CONNECTIONS | default 0 | int64 -}}
{{- if and $v.autoscaling.enabled $v.autoscaling.sessions $max (ge ($v.autoscaling.sessions | default 0 | int64) $max) -}}
{{- fail (printf "autoscaling.sessions has to be less than settings.MAX_CONNECTIONS (%d), at which a replica is overloaded" $max) -}}
{{- end -}}
{{- if $v.networkPolicy.enabled -}}
{{- include "chat.checkPort" (dict "name" "database" "url" $v.database.url "default" "5432" "allowed" $v.networkPolicy.databasePort) -}}
{{- include "chat.checkPort" (dict "name" "redis" "url" $v.redis.url "default" "6379" "allowed" $v.networkPolicy.redisPort) -}}
{{- end -}}
{{- $taken := list "DATABASE_URL" "REDIS_URL" "JWT_SECRET" "DATA_DIR" -}}
{{- range include "chat.ownEnv" . | fromYamlArray -}}{{- $taken = append $taken .name -}}{{- end -}}
{{- range $v.extraEnv -}}
{{- if has .name $taken -}}
{{- fail (printf "extraEnv sets %s, which the chart sets: there is a value for it" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress is on without a host: set ingress.hosts" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute is on without a Gateway: set httpRoute.parentRefs" -}}
{{- end -}}
{{- include "chat.checkPlatform" . -}}
{{- end }}

{{/* The port of a URL that the chart is given has to be the one that the NetworkPolicy lets through. */}}
{{- define "chat.checkPort" -}}
{{- if .url -}}
{{- $host := .url | regexFind "^[a-z]+://[^/?]*" | regexFind "[^@/]*$" -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default .default -}}
{{- if ne $port (toString .allowed) -}}
{{- fail (printf "%s.url has port %s, but networkPolicy.%sPort is %v: set it too" .name $port .name .allowed) -}}
{{- end -}}
{{- end -}}
{{- end }}
