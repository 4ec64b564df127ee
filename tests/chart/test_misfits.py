"""Values that do not fit together end the render with a sentence that says what to set."""

import unittest

from render import CLUSTERED, RenderError, merge, render

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
    ({"settings": {"IDLE_SECONDS": 20}}, "settings.IDLE_SECONDS (20) has to be longer than settings.PING_SECONDS (25)"),
    ({"ingress": {"enabled": True}}, "set ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "set httpRoute.parentRefs"),
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
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
]


class Misfits(unittest.TestCase):
    def test_each_is_refused_with_its_sentence(self):
        for values, sentence in MISFITS:
            with self.subTest(sentence):
                with self.assertRaises(RenderError) as refused:
                    render(values)
                self.assertIn(sentence, str(refused.exception))

    def test_an_old_kubernetes_is_refused(self):
        with self.assertRaises(RenderError) as refused:
            render(kube_version="1.29.0")
        self.assertIn("incompatible with Kubernetes v1.29.0", str(refused.exception))
