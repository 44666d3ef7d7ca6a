"""Wires derivations: the runner of each, for the daemon and for a command without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spotlightd.flows.derive.chains.runner import ChainRunner
from spotlightd.flows.derive.context import DerivationRunner, DeriveContext
from spotlightd.flows.derive.slices import SliceRunner
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.chains import Chains

if TYPE_CHECKING:
    from spotlightd.runtime.instance import Instance


def make_derivation_runner(derivation: Derivation, instance: Instance) -> DerivationRunner:
    context = DeriveContext(
        instance.ledger, instance.warehouse, instance.publications, instance.gate, instance.archives
    )
    return ChainRunner(derivation, context) if isinstance(derivation, Chains) else SliceRunner(derivation, context)
