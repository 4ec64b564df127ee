"""Values that do not fit together end the render with a sentence that says what to set."""

import unittest

from matrix import INLINE, SIDECAR
from render import CLUSTERED, RenderError, merge, render

AUTHORITY = {"database": {"tls": {"ca": {"secretName": "a"}}}}


def otlp(**values):
    """A collector, and more of its values."""
    return {"otlp": {"endpoint": "http://collector:4318", **values}}


def policy(part, url):
    """A server at this URL, behind a policy."""
    return merge(INLINE, {part: {"url": url}, "networkPolicy": {"enabled": True}})


MISFITS = [
    ({"database": {"url": "postgres://db/chat"}}, "database is set but redis is not"),
    ({"redis": {"existingSecret": {"name": "urls"}}}, "redis is set but database is not"),
    (merge(CLUSTERED, {"tokens": {"existingSecret": {"name": ""}}}), "set tokens.existingSecret.name or tokens.secret"),
    (merge(CLUSTERED, {"tokens": {"secret": "short", "existingSecret": {"name": ""}}}), "tokens.secret has 5 bytes"),
    (merge(CLUSTERED, {"redis": {"url": "redis://r"}}), "by value or by existingSecret, not both"),
    ({"drain": {"gracePeriodSeconds": 54}}, "drain.gracePeriodSeconds is 54"),
    ({"drain": {"seconds": 100, "gracePeriodSeconds": 60}}, "raise it, unset it or drain faster"),
    ({"autoscaling": {"enabled": True}}, "autoscaling needs database and redis"),
    ({"replicas": 2}, "replicas is 2, but an embedded replica is alone"),
    (merge(CLUSTERED, {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}), "minReplicas is more"),
    (merge(CLUSTERED, {"autoscaling": {"enabled": True, "cpuPercent": None}}), "autoscaling has nothing to go by"),
    ({"autoscaling": {"external": True}}, "autoscaling needs database and redis"),
    (merge(CLUSTERED, {"autoscaling": {"enabled": True, "external": True}}), "autoscaling is by the chart or external, not both"),
    (merge(CLUSTERED, {"replicas": 3, "autoscaling": {"external": True}}), "autoscaling.external leaves the number to another"),
    (merge(CLUSTERED, {"rollout": {"maxSurge": "0%", "maxUnavailable": 0}}), "rollout has no way on"),
    ({"settings": {"IDLE_SECONDS": 20}}, "settings.IDLE_SECONDS (20) has to be longer than settings.PING_SECONDS (25)"),
    ({"ingress": {"enabled": True}}, "set ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "set httpRoute.parentRefs"),
    ({"database": {"tls": {"mode": "require"}}}, "database.tls is set, but no database"),
    (merge(CLUSTERED, AUTHORITY, {"database": {"tls": {"mode": "prefer"}}}), "is not looked at with database.tls.mode prefer"),
    (merge(INLINE, AUTHORITY, {"database": {"url": "postgres://d/c?sslmode=require"}}), "says how TLS is done, and so does"),
    (merge(CLUSTERED, AUTHORITY, {"database": {"tls": {"ca": {"configMapName": "b"}}}}), "database.tls.ca is given by secretName"),
    (
        merge(INLINE, {"redis": {"url": "redis://r", "tls": {"ca": {"secretName": "a"}}}}),
        "redis.tls.ca is set, but redis.url is not rediss://",
    ),
    ({"redis": {"tls": {"ca": {"secretName": "a"}}}}, "redis.tls is set, but no redis"),
    (otlp(tls={"ca": {"secretName": "a", "configMapName": "b"}}), "otlp.tls.ca is given by secretName and by configMapName"),
    (otlp(tls={"ca": {"secretName": "a"}}), "otlp.tls is set, but otlp.endpoint is not https://"),
    (
        merge(CLUSTERED, {"redis": {"tls": {"ca": {"secretName": "a"}}}}, otlp(endpoint="https://collector")),
        "redis.tls.ca takes the place of the public authorities",
    ),
    (otlp(endpoint="", tls={"clientSecretName": "a"}), "nothing is sent: set otlp.endpoint"),
    (otlp(endpoint="", headers={"secretName": "a"}), "nothing is sent: set otlp.endpoint"),
    (otlp(traces=False, metrics=False), "otlp sends neither traces nor metrics"),
    (merge(otlp(traces=False), {"serviceMonitor": {"enabled": True}}), "otlp sends neither traces nor metrics"),
    (policy("database", "postgres://u:p@db:6432/chat"), "database.url has port 6432, but networkPolicy.databasePort is 5432"),
    (policy("redis", "rediss://:p@r:6380"), "redis.url has port 6380, but networkPolicy.redisPort is 6379"),
    (
        merge(CLUSTERED, {"autoscaling": {"enabled": True, "sessions": 500}, "settings": {"MAX_CONNECTIONS": 500}}),
        "autoscaling.sessions has to be less than settings.MAX_CONNECTIONS (500)",
    ),
    ({"extraEnv": [{"name": "DRAIN_SECONDS", "value": "600"}]}, "extraEnv sets DRAIN_SECONDS, which the chart sets"),
    ({"extraEnv": [{"name": "DATABASE_URL", "value": "postgres://d"}]}, "extraEnv sets DATABASE_URL, which the chart sets"),
    (merge(otlp(), {"extraEnv": [{"name": "OTEL_TRACES_SAMPLER", "value": "a"}]}), "extraEnv sets OTEL_TRACES_SAMPLER"),
    ({"migrations": {"enabled": True, "mode": "none"}}, "migrations.enabled is true, but migrations.mode is none"),
    ({"migrations": {"enabled": False, "mode": "job"}}, "migrations.enabled is false, but migrations.mode is job"),
    ({"migrations": {"ttlSecondsAfterFinished": 60}}, "migrations.ttlSecondsAfterFinished is set, but migrations.mode is hook"),
    (merge(CLUSTERED, {"migrations": {"mode": "none", "existingSecret": {"name": "owner"}}}), "the chart migrates nothing"),
    ({"migrations": {"existingSecret": {"name": "owner"}}}, "the chart migrates nothing"),
    ({"service": {"nodePort": 30000}}, "service.nodePort is set, but service.type is ClusterIP"),
    ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy is set, but service.type is ClusterIP"),
    ({"service": {"type": "NodePort", "loadBalancerClass": "a"}}, "service.loadBalancerClass is set, but service.type is NodePort"),
    ({"service": {"loadBalancerSourceRanges": ["::/0"]}}, "service.loadBalancerSourceRanges is set, but service.type is"),
    ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "every replica would be scraped twice"),
    ({"serviceMonitor": {"scrapeTimeout": "16s"}}, "serviceMonitor.scrapeTimeout is 16s, longer than its interval, 15s"),
    ({"podMonitor": {"interval": "1m", "scrapeTimeout": "61000ms"}}, "podMonitor.scrapeTimeout is 61000ms, longer"),
    ({"commonLabels": {"app.kubernetes.io/name": "a"}}, "commonLabels sets app.kubernetes.io/name, by which the chart"),
    ({"podLabels": {"app.kubernetes.io/component": "a"}}, "podLabels sets app.kubernetes.io/component"),
    ({"migrations": {"podLabels": {"app.kubernetes.io/instance": "a"}}}, "migrations.podLabels sets app.kubernetes.io/instance"),
    ({"extraContainers": [{**SIDECAR, "name": "chat-gateway"}]}, "has a container chat-gateway, and so has the pod already"),
    ({"extraContainers": [SIDECAR], "initContainers": [SIDECAR]}, "has a container sidecar, and so has the pod already"),
    ({"migrations": {"initContainers": [{**SIDECAR, "name": "migrate"}]}}, "migrations.initContainers has a container migrate"),
    ({"extraVolumes": [{"name": "data", "emptyDir": {}}]}, "extraVolumes has a volume data, and so has the pod already"),
    ({"extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}]}, "extraVolumeMounts mounts ca, which is no volume"),
    ({"dnsPolicy": "None"}, "set dnsConfig.nameservers"),
    (merge(CLUSTERED, {"podDisruptionBudget": {"minAvailable": 3}}), "podDisruptionBudget.minAvailable is 3, and there may be no more than 3"),
    # The schema's.
    ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
    ({"settings": {"LIMIT_MESSAGES": 3}}, "additional properties 'LIMIT_MESSAGES' not allowed"),
    ({"settings": {"DRAIN_SECONDS": 3}}, "additional properties 'DRAIN_SECONDS' not allowed"),
    ({"settings": {"LOG_FORMAT": "xml"}}, "/settings/LOG_FORMAT"),
    ({"image": {"digest": "latest"}}, "/image/digest"),
    ({"database": {"url": "mysql://db"}}, "/database/url"),
    ({"otlp": {"endpoint": "collector:4318"}}, "/otlp/endpoint"),
    ({"otlp": {"sampleRatio": 2}}, "/otlp/sampleRatio"),
    ({"replicas": 0}, "/replicas"),
    ({"otlp": {"tls": {"caSecret": "a"}}}, "additional properties 'caSecret' not allowed"),
    (merge(CLUSTERED, {"database": {"tls": {"mode": "verify"}}}), "/database/tls/mode"),
    ({"rollout": {"maxSurge": "many"}}, "/rollout/maxSurge"),
    ({"service": {"ipFamilies": ["IPv5"]}}, "/service/ipFamilies"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
    ({"migrations": {"mode": "init"}}, "/migrations/mode"),
    ({"otlp": {"resourceAttributes": {"a": "b,c"}}}, "/otlp/resourceAttributes"),
    ({"extraContainers": [{"name": "a"}]}, "/extraContainers/0"),
    ({"probes": {"liveness": {"httpGet": {}}}}, "additional properties 'httpGet' not allowed"),
    ({"serviceMonitor": {"scrapeTimeout": "soon"}}, "/serviceMonitor/scrapeTimeout"),
    ({"networkPolicy": {"dnsPorts": []}}, "/networkPolicy/dnsPorts"),
    ({"redis": {"url": "valley://r"}}, "/redis/url"),
]


class Misfits(unittest.TestCase):
    def test_each_is_refused_with_its_sentence(self):
        for values, sentence in MISFITS:
            with self.subTest(sentence):
                with self.assertRaises(RenderError) as refused:
                    render(values)
                self.assertIn(sentence, str(refused.exception))

    def test_an_image_that_is_still_to_be_made_is_refused(self):
        for files in ([], ["values-try.yaml"], ["values-production.yaml"]):
            with self.subTest(files):
                with self.assertRaises(RenderError) as refused:
                    render(files=files, image={})
                sentence = "the image is registry.example/chat-gateway:0.1.0, a placeholder: .* deploy/release.md .* image.repository"
                self.assertRegex(str(refused.exception), sentence)

    def test_what_no_image_can_be_called_is_refused(self):
        for repository in ("…", "…/chat-gateway", "registry.test/Team/chat", "oci://registry.test/chat", "registry.test/chat:0.1.0", "registry.test/"):
            with self.subTest(repository):
                with self.assertRaises(RenderError) as refused:
                    render({"image": {"repository": repository}})
                self.assertIn(f"image.repository is {repository}, which no image can be called", str(refused.exception))
        for repository in ("chat", "localhost:5000/chat", "[::1]:5000/chat", "Registry.test/team_1/a.b__c--d"):
            render({"image": {"repository": repository}})

    def test_an_old_kubernetes_is_refused(self):
        with self.assertRaises(RenderError) as refused:
            render(kube_version="1.29.0")
        self.assertIn("incompatible with Kubernetes v1.29.0", str(refused.exception))
