"""The script of `helm test` does what it says, against a real server."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from render import CHART

SCRIPT = CHART / "files" / "send-and-read.sh"


@unittest.skipUnless(shutil.which("curl"), "wants curl")
class SendAndRead(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        env = {"DATA_DIR": self.folder.name, "LISTEN_ADDR": "127.0.0.1:0", "OPS_LISTEN_ADDR": "127.0.0.1:0"}
        self.server = subprocess.Popen(
            [os.environ["CHAT_GATEWAY"]], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        ready = self.server.stdout.readline()
        self.url = re.search(r"http://[^/ ]+", ready)[0]

    def tearDown(self):
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        self.folder.cleanup()

    def send_and_read(self):
        env = {"BASE_URL": self.url, "PATH": os.environ["PATH"]}
        return subprocess.run(["sh", "-c", SCRIPT.read_text()], env=env, capture_output=True, text=True, check=False)

    def test_it_passes_on_a_server_and_fails_without_one(self):
        passed = self.send_and_read()
        self.assertEqual(passed.stdout, "sent a message and read it back\n", passed.stderr)
        self.server.kill()
        self.server.wait()
        self.assertNotEqual(self.send_and_read().returncode, 0)
