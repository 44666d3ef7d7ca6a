"""A venue and a mirror of the SEC on fixed ports of the installed host: `venue.py FILE`.

Once in a while it writes the number of ticks that it has sent into FILE. SIGUSR1 stops the market, SIGUSR2 starts it again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from spotlightd.demo.exchange import PING, Script, run_exchange
from spotlightd.demo.mirror import load_publishers, run_mirror

MIRROR_PORT, VENUE_PORT = 7001, 7002
TICKS_PER_SECOND = 100.0


async def main(file: Path) -> None:
    script = Script(rate=TICKS_PER_SECOND)
    async with run_mirror(load_publishers(), port=MIRROR_PORT), run_exchange(script, port=VENUE_PORT) as venue:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, venue.stall)
        loop.add_signal_handler(signal.SIGUSR2, venue.resume)
        while True:
            ticks = sum(len(json.loads(frame.value).get("data", [])) for frame in venue.sent if frame.value != PING)
            file.with_suffix(".new").write_text(str(ticks))
            file.with_suffix(".new").rename(file)
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
