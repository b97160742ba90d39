"""Why Kafka does not let this service in: what no later try mends, in words that name the setting.

aiokafka says of a failed start only that it could not be made. This goes through the same door once more and looks
where it ends. Asked when a topic is opened and Kafka did not answer.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from monitor.errors import StartupError
from monitor.journal.kafka.brokers import Brokers
from monitor.kafka_security import KafkaSecurity

# For each question: whoever refuses does so at once.
_LIMIT_S: Final = 3.0


async def refusal(brokers: Brokers) -> StartupError | None:
    """What the first broker that is there refuses, and the cure; None when a later try may succeed."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - the driver loads only where it is used
    from aiokafka.protocol.metadata import MetadataRequest  # noqa: PLC0415

    for server in brokers.bootstrap.split(","):
        try:
            async with _connection(Brokers(server, brokers.security)) as connection:
                # The first that is not for everybody.
                named = (await connection.send(MetadataRequest([]))).brokers
        except (KafkaError, OSError, TimeoutError) as error:
            why = _said(error, brokers.security) or await _found_out(server, brokers.security)
            if why:
                return StartupError(f"Kafka at {server} {why}.")
        else:
            return await _unreachable(server, [f"{host}:{port}" for _, host, port, *_ in named], brokers.security)
    return None


async def _unreachable(server: str, named: Sequence[str], shown: KafkaSecurity) -> StartupError | None:
    """When every broker that a server names is out of reach: it is asked for them first, and never spoken to again."""
    if not named or any([await _lets_in(Brokers(broker, shown)) for broker in named]):
        return None
    if not await _lets_in(Brokers(server, shown)):
        return None  # it has gone away meanwhile
    return StartupError(
        f"Kafka at {server} names {', '.join(named)} as its brokers, and none lets this service in; have it advertise "
        "addresses that are reached from here (advertised.listeners)."
    )


@asynccontextmanager
async def _connection(broker: Brokers) -> AsyncIterator[Any]:
    """A connection to the one broker, as every client makes it: encrypted and logged in, where that is wanted."""
    from aiokafka.conn import AIOKafkaConnection  # noqa: PLC0415

    settings = broker.client_settings()
    host, _, port = settings.pop("bootstrap_servers").rpartition(":")
    connection = AIOKafkaConnection(host.strip("[]"), int(port), request_timeout_ms=int(_LIMIT_S * 1000), **settings)
    farewell_s = _LIMIT_S
    try:
        await connection.connect()
        yield connection
    except OSError:
        farewell_s = 0.0  # nobody was met
        raise
    finally:
        # TLS takes leave of the other side.
        await asyncio.wait([connection.close()], timeout=farewell_s)


def _said(error: Exception, shown: KafkaSecurity) -> str:
    """What the broker said of it, and the cure; empty when it only hung up."""
    from aiokafka.errors import (  # noqa: PLC0415
        IllegalSaslStateError,
        SaslAuthenticationFailed,
        UnsupportedSaslMechanismError,
    )

    match error.__cause__ or error:
        case ssl.SSLCertVerificationError(verify_message=why):
            return (
                f"shows a certificate that is not trusted ({why}); name who vouches for it with MONITOR_KAFKA_CA, and "
                "the broker by the name in its certificate"
            )
        case ssl.SSLError(reason=why) if error.__cause__ and shown.cert:
            return f"does not take the certificate {shown.cert} ({why}); show it another one with MONITOR_KAFKA_CERT"
        case ssl.SSLError(reason=why) if error.__cause__:
            return (
                f"asks for a certificate ({why}); name it with MONITOR_KAFKA_CERT, and its key with MONITOR_KAFKA_KEY"
            )
        case SaslAuthenticationFailed():
            return (
                f"does not let user {shown.username} in; look at MONITOR_KAFKA_SASL_USERNAME, _PASSWORD and _MECHANISM"
            )
        case UnsupportedSaslMechanismError():
            return f"does not know {shown.mechanism}; set another MONITOR_KAFKA_SASL_MECHANISM"
        case IllegalSaslStateError():
            cure = "ssl" if shown.uses_tls else "plaintext"
            return f"lets nobody log in; set MONITOR_KAFKA_SECURITY={cure}, or name its listener for users"
    return ""


async def _found_out(server: str, shown: KafkaSecurity) -> str:
    """Why it hung up, by trying what it may have expected; empty when it was for another reason."""
    if not shown.uses_tls and await _speaks_tls(server):
        cure = "sasl_ssl" if shown.uses_sasl else "ssl (sasl_ssl where users log in)"
        return f"speaks TLS; set MONITOR_KAFKA_SECURITY={cure}, or name its listener without TLS"
    if shown.uses_tls and await _lets_in(Brokers(server)):
        cure = "sasl_plaintext" if shown.uses_sasl else "plaintext (sasl_plaintext where users log in)"
        return f"does not speak TLS; name its listener that does, or set MONITOR_KAFKA_SECURITY={cure}"
    if not shown.uses_sasl and await _lets_in(Brokers(server, shown)):
        cure = "sasl_ssl" if shown.uses_tls else "sasl_plaintext"
        return f"wants a user to log in; set MONITOR_KAFKA_SECURITY={cure}, with MONITOR_KAFKA_SASL_USERNAME"
    return ""


async def _lets_in(broker: Brokers) -> bool:
    """Whether a connection can be made, whatever it is good for."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    try:
        async with _connection(broker):
            return True
    except (KafkaError, OSError, TimeoutError):
        return False


async def _speaks_tls(server: str) -> bool:
    """Whether it answers in TLS, be it with a refusal; nothing is told to it."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    host, _, port = server.rpartition(":")
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=anybody)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
