"""What cannot be done with webhooks and their deliveries."""

from monitor.errors.tree import ClientError, NotFound


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    code = "WEBHOOK_NOT_FOUND"


class InvalidWebhook(ClientError):
    """The webhook cannot be registered like this."""

    code = "INVALID_WEBHOOK"
    status = 422


class TooManySecrets(ClientError):
    """As many secrets sign as a webhook may have; wait until one expires, or revoke the older ones."""

    code = "TOO_MANY_SECRETS"
    status = 409


class DeliveryNotFound(NotFound):
    """There is no such delivery."""

    code = "DELIVERY_NOT_FOUND"


class CannotRetryDelivery(ClientError):
    """The delivery is not sent again as it stands."""

    code = "CANNOT_RETRY_DELIVERY"
    status = 409


class CannotCancelDelivery(ClientError):
    """The delivery has ended: nothing is left to call off."""

    code = "CANNOT_CANCEL_DELIVERY"
    status = 409


class ReplayNotFound(NotFound):
    """There is no such replay."""

    code = "REPLAY_NOT_FOUND"


class InvalidReplay(ClientError):
    """The deliveries of the webhook cannot be replayed like this."""

    code = "INVALID_REPLAY"
    status = 422


class ReplayRunning(ClientError):
    """A replay of this webhook runs already; wait for its end, or cancel it."""

    code = "REPLAY_RUNNING"
    status = 409


class CannotCancelReplay(ClientError):
    """The replay has ended."""

    code = "CANNOT_CANCEL_REPLAY"
    status = 409
