"""The health check of a container: exits 0 when the service in it is ready, else prints the reasons that it gives."""

import os
import sys
from http.client import HTTPConnection, HTTPException

connection = HTTPConnection("127.0.0.1", int(os.environ.get("MONITOR_PORT") or 8080), timeout=4)
try:
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    sys.stdout.write(answer.read().decode())
except (OSError, HTTPException) as error:
    sys.exit(f"does not answer: {error}")
sys.exit(0 if answer.status == 200 else 1)
