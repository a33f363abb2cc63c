"""What the gate is told of data: the class of a version, what a push would make of it, what a training run is for.

What is on record and does not verify is of the highest class; what is not there holds nothing, and its route says so.
"""

from collections.abc import Callable
from typing import Any

from casemate.console.callers import Call
from casemate.console.flags import is_set
from casemate.core import (
    CasemateError,
    DataClass,
    NotFoundError,
    Ref,
    Resource,
    checked_name,
    data_class_of,
    highest_class,
    parse_ref,
)
from casemate.iam import stated_reason
from casemate.registry import Datasets, DataUse, Models, anonymous_use, stated_use

_HIGHEST = DataUse(data_class=DataClass.HEALTH)
Attributes = dict[str, str | int | bool]


def dataset_version(call: Call, arguments: dict[str, Any]) -> Resource:
    """One version of a dataset, with its class."""
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    return Resource("dataset", ref.name, attributes={"data_class": _use(call, ref).data_class.value})


def dataset_version_shown(call: Call, arguments: dict[str, Any]) -> Resource:
    """One version of a dataset whose rows are read: that needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return dataset_version(call, arguments)


def dataset_versions(call: Call, arguments: dict[str, Any]) -> Resource:
    """Two versions of a dataset, with the higher of their classes."""
    name = arguments["name"]
    uses = [_use(call, parse_ref(f"{name}@{arguments[one]}")) for one in ("version", "to")]
    highest = max((use.data_class for use in uses), key=lambda data_class: data_class.rank)
    return Resource("dataset", checked_name(name), attributes={"data_class": highest.value})


def dataset_versions_shown(call: Call, arguments: dict[str, Any]) -> Resource:
    """The same, where rows are read: that needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return dataset_versions(call, arguments)


def dataset_named(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The dataset that a push or a training run names."""
    if not arguments["dataset"]:
        return None
    ref = parse_ref(arguments["dataset"])
    return Resource("dataset", ref.name, ref.project, attributes={"data_class": _use(call, ref).data_class.value})


def dataset_made_from(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The dataset that pushed rows were made from."""
    return dataset_named(call, {"dataset": arguments["made_from"]})


def dataset_as_pushed(call: Call, arguments: dict[str, Any]) -> Resource:
    """A dataset as it would be. A class that falls, or purposes that grow, need a reason.

    Raises: InputError.
    """
    name, purposes = checked_name(arguments["name"]), arguments["purpose"]
    before = call.services.datasets.use_of_newest(name)
    use = stated_use(
        before, arguments["data_class"], [purposes] if isinstance(purposes, str) and purposes else purposes
    )
    lowers = before is not None and use.is_wider_than(before)
    if lowers:
        stated_reason(call.reason)
    return Resource("dataset", name, attributes={"data_class": use.data_class.value, "lowers_class": lowers})


def anonymous_name(name: str, new: str) -> str:
    """Of what is made anonymous of a dataset. Raises: InputError."""
    return checked_name(new or f"{name}-anonymous", what="dataset")


def dataset_made_anonymous(call: Call, arguments: dict[str, Any]) -> Resource:
    """A version of which an anonymous one is made, with its class. What may be used for more than before needs a reason.

    Raises: InputError.
    """
    source, _, lowers = _anonymous(call, arguments)
    if lowers:
        stated_reason(call.reason)
    attributes: Attributes = {"data_class": source.data_class.value, "lowers_class": lowers}
    return Resource("dataset", checked_name(arguments["name"]), attributes=attributes)


def dataset_of_anonymous(call: Call, arguments: dict[str, Any]) -> Resource:
    """The dataset that it becomes a version of, as it would be."""
    _, use, lowers = _anonymous(call, arguments)
    attributes: Attributes = {"data_class": use.data_class.value, "lowers_class": lowers}
    return Resource("dataset", anonymous_name(arguments["name"], arguments["new"]), attributes=attributes)


def _anonymous(call: Call, arguments: dict[str, Any]) -> tuple[DataUse, DataUse, bool]:
    """What the source may be used for, what comes of it, and whether that is more."""
    purposes = arguments["purpose"]
    source = _use(call, parse_ref(f"{arguments['name']}@{arguments['version']}"))
    before = call.services.datasets.use_of_newest(anonymous_name(arguments["name"], arguments["new"]))
    stated = [purposes] if isinstance(purposes, str) and purposes else purposes
    return source, *anonymous_use(source, before, arguments["data_class"], stated)


def dataset_turned_back(call: Call, arguments: dict[str, Any]) -> Resource:
    """A version whose pseudonyms are turned back, with the class of the people behind them. That needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    try:
        data_class = call.services.anonymisations.class_turned_back(ref)
    except NotFoundError:
        data_class = DataClass.INTERNAL
    except CasemateError:
        data_class = _HIGHEST.data_class
    return Resource("dataset", ref.name, attributes={"data_class": data_class.value})


def dataset_newest(call: Call, arguments: dict[str, Any]) -> Resource:
    """A dataset as its newest version is; one that is not there yet holds nothing."""
    name = checked_name(arguments["name"])
    before = call.services.datasets.use_of_newest(name)
    data_class = before.data_class if before else DataClass.INTERNAL
    return Resource("dataset", name, attributes={"data_class": data_class.value})


def dataset_reasoned(call: Call, arguments: dict[str, Any]) -> Resource:
    """A dataset as its newest version is. What is said of it needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return dataset_newest(call, arguments)


def dataset_as_restored(call: Call, arguments: dict[str, Any]) -> Resource:
    """A dataset as it would be with an older version as its newest. A class that falls needs a reason. Raises: InputError."""
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    use, before = _use(call, ref), call.services.datasets.use_of_newest(ref.name)
    lowers = before is not None and use.is_wider_than(before)
    if lowers:
        stated_reason(call.reason)
    return Resource("dataset", ref.name, attributes={"data_class": use.data_class.value, "lowers_class": lowers})


def dataset_tagged(call: Call, arguments: dict[str, Any]) -> Resource:
    """A version of a dataset that gets a tag, or a dataset that loses one."""
    name, version = arguments["name"], arguments.get("version")
    use = _use(call, parse_ref(f"{name}@{version}" if version else name))
    return Resource("dataset", checked_name(name), attributes={"data_class": use.data_class.value})


def model_version(call: Call, arguments: dict[str, Any]) -> Resource:
    """One version of a model, with the class of what it was made from."""
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    return Resource("model", ref.name, attributes={"data_class": class_of_model(call, ref)})


def base_named(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The model version that a push or a training run says it is made from."""
    if not arguments["base"]:
        return None
    ref = parse_ref(arguments["base"])
    return Resource("model", ref.name, ref.project, attributes={"data_class": class_of_model(call, ref)})


def model_as_trained(call: Call, arguments: dict[str, Any]) -> Resource:
    """A model as it would be: the class of what it is made from, and whether that may be used for the purpose."""
    attributes: Attributes = {"data_class": DataClass.INTERNAL.value, "purpose_allowed": True}
    if purpose := arguments["purpose"]:
        attributes["purpose"] = checked_name(purpose, what="purpose")
    if arguments["dataset"]:
        ref = parse_ref(arguments["dataset"])
        use = _use(call, ref)
        attributes |= {"data_class": use.data_class.value, "purpose_allowed": use.allows(purpose)}
        if digest := _digest(call.services.datasets, ref):
            attributes["dataset_digest"] = digest
    if arguments["base"]:
        ref = parse_ref(arguments["base"])
        use = _known(lambda: call.services.models.use_of(ref))
        classes = [use.data_class, data_class_of(attributes["data_class"])]
        allowed = attributes["purpose_allowed"] is True and use.allows(purpose)
        attributes |= {"data_class": highest_class(classes).value, "purpose_allowed": allowed}
        if digest := _digest(call.services.models, ref):
            attributes["base_digest"] = digest
    return Resource("model", arguments["name"], attributes=attributes)


def let_out(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """A model as it would be, where its script is let out to hosts: rows may leave with it."""
    return model_as_trained(call, arguments) if arguments["allow_host"] else None


def every_model(call: Call, arguments: dict[str, Any]) -> Resource | None:  # noqa: ARG001 - no one model is meant
    """All models, where what was made from a version is to end with it."""
    return Resource("model", "*") if is_set(arguments["cascade"], "cascade") else None


def dataset_of_model(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The dataset that a model version says it was trained on; None where it says none. All, where nobody can tell."""
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    try:
        lineage = call.services.models.find(ref).read_manifest().lineage
    except NotFoundError:
        return None
    except CasemateError:
        return Resource("dataset", "*", attributes={"data_class": _HIGHEST.data_class.value})
    if lineage is None or lineage.dataset is None:
        return None
    origin = Ref(lineage.dataset.name, lineage.dataset.digest, lineage.dataset.project)
    return Resource(
        "dataset", origin.name, origin.project, attributes={"data_class": _use(call, origin).data_class.value}
    )


def class_of_dataset(call: Call, ref: Ref) -> str:
    """Of one version."""
    return _use(call, ref).data_class.value


def class_of_model(call: Call, ref: Ref) -> str:
    """Of what it was made from."""
    return _known(lambda: call.services.models.use_of(ref)).data_class.value


def is_described(call: Call, ref: Ref) -> bool:
    """Whether people have said all that a card needs; what is not there or does not verify is not described."""
    try:
        return call.services.models.is_described(ref)
    except CasemateError:
        return False


def is_evaluated(call: Call, ref: Ref) -> bool:
    """Whether its gates let a version pass, or an owner did; what is not there or does not verify is not evaluated."""
    try:
        return call.services.evaluations.is_evaluated(ref)
    except CasemateError:
        return False


def _use(call: Call, ref: Ref) -> DataUse:
    return _known(lambda: call.services.datasets.use_of(ref))


def _known(look: Callable[[], DataUse]) -> DataUse:
    try:
        return look()
    except NotFoundError:
        return DataUse()
    except CasemateError:
        return _HIGHEST


def _digest(assets: Datasets | Models, ref: Ref) -> str:
    try:
        return assets.find(ref).digest
    except CasemateError:
        return ""
