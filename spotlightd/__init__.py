"""spotlightd collects what powerful institutions must publish, stores it, and cites it with receipts.

The author of a source imports these names. The readers of formats are in `spotlightd.parse`.
"""

from spotlightd.datasets.cat import cat_error_rates, cat_record_counts
from spotlightd.datasets.sec_ftd import sec_ftd
from spotlightd.datasets.short_halts import short_halts
from spotlightd.datasets.short_volume import short_volume
from spotlightd.datasets.swaps import swaps
from spotlightd.datasets.swaps_report import swaps_report
from spotlightd.datasets.threshold.lists import threshold, threshold_lists, threshold_occ
from spotlightd.datasets.trades import trades
from spotlightd.datasets.trading_halts import trading_halts
from spotlightd.errors import FormatError, PublisherError, SettingsError, SpotlightError, StoreError
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf
from spotlightd.model.derived.transform import Transform
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Expected, Link, OutsideRows, Pages, Rows
from spotlightd.model.stream import Feed, Stream, find_named_symbols

__version__ = "0.1.0"

__all__ = [
    "Batch", "Body", "Column", "Dataset", "Derivation", "Expected", "Feed", "FormatError", "Link", "OutsideRows", "Pages",
    "PublisherError", "Reject", "Rhythm", "Rows", "RowsOf", "SettingsError", "SpotlightError", "StoreError", "Stream", "Transform",
    "cat_error_rates", "cat_record_counts", "find_named_symbols", "sec_ftd", "short_halts", "short_volume", "swaps", "swaps_report", "threshold", "threshold_lists", "threshold_occ", "trades", "trading_halts",
]  # fmt: skip
