"""The page of figures, for Prometheus."""

from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer
from tusd_py.web.exchange import Exchange, MetricsPage
from tusd_py.web.health import options_or_refusal


class Figures:
    """``/metrics``."""

    name = "metrics"

    def __init__(self, page: MetricsPage) -> None:
        self._page = page

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        body, content_type = await self._page()
        return Answer(200, ((h.CONTENT_TYPE, content_type), (h.CACHE_CONTROL, "no-store")), body)

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""
