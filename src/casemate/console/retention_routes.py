"""Rules by which the home deletes a dataset's older versions by itself: kept, shown, ended, and applied on record."""

from typing import Any

from casemate.console.asset_routes import plain
from casemate.console.callers import Caller
from casemate.console.data_asked import dataset_newest, dataset_reasoned
from casemate.console.door import Also, Door
from casemate.console.services import Services
from casemate.core import Action, CasemateError, Principal, Resource, checked_name, parse_duration
from casemate.registry import checked_rule


def declare(door: Door) -> None:
    """The routes under /datasets/{name}/retention-rule."""
    path = "/datasets/{name}/retention-rule"

    @door.read(path, Action.DATASET_READ, about=dataset_newest)
    def rule(call: Caller, name: str) -> dict[str, Any]:
        """The rule of a dataset, and which versions it would end now."""
        return plain(call.services.retention.show(checked_name(name)))

    @door.change(
        "PUT",
        path,
        Action.DATASET_CONFIGURE,
        about=dataset_reasoned,
        also=Also(action=Action.DATASET_DELETE, about=dataset_newest),  # the home will, by this rule, as its owner
    )
    def keep(call: Caller, name: str, keep: int = 0, life: str = "") -> dict[str, Any]:
        """Keep the newest `keep` versions, or those of the last `life`, from now on: the home deletes the rest by itself."""
        rule = checked_rule(keep, parse_duration(life) if life else 0.0)
        return plain(
            call.services.retention.keep(
                checked_name(name), rule, reason=call.reason, actor=call.principal, intent=call.intent
            )
        )

    @door.change("DELETE", path, Action.DATASET_CONFIGURE, about=dataset_reasoned)
    def end(call: Caller, name: str) -> dict[str, Any]:
        """Delete nothing by itself from now on."""
        retention = call.services.retention
        return plain(
            retention.keep(checked_name(name), None, reason=call.reason, actor=call.principal, intent=call.intent)
        )


def tend_retention(services: Services, by: Principal) -> list[CasemateError]:
    """Delete what the kept rules end now, each dataset through the gate. Returns: what failed."""
    failed = []
    for name, record in services.retention.rules().items():
        reason = f"the rule of {record.at[:10]} by {record.by}: {record.reason}"
        try:
            if not (due := services.retention.due(record)):
                continue
            with services.gate.open(by, Action.DATASET_DELETE, Resource("dataset", name), reason=reason) as entry:
                entry.facts.update(
                    rule=plain(record.rule), due=due
                )  # first: a deletion that is not finished is on record, too
                done = services.retention.apply(record, intent=entry.id)
                entry.facts.update(deleted=done["deleted"], finished=done["finished"])
        except CasemateError as error:
            failed.append(error)
    return failed
