"""A stand-in for the provider hashicorp/aws, with its true schema and without AWS.

It serves Terraform's plugin protocol on a socket, so that the real `terraform validate`, `plan` and `apply`
run against it: `server.py PACKAGE SOCKET FOLDER…` reads the schemas of the types that the Terraform files in
the folders name, and prints what goes into TF_REATTACH_PROVIDERS once it listens. What a real provider would
ask AWS for, it makes up.
"""

import hashlib
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
from concurrent import futures

import grpc
import msgpack
from grpc_tools import protoc

import enums
import schema

HERE = pathlib.Path(__file__).parent
USES = re.compile(r'^(resource|data) "(\w+)"', re.M)
UNKNOWN = msgpack.ExtType(0, b"\x00")
NESTING = {"single": 1, "list": 2, "set": 3}
MESSAGE_BYTES_MAX = 256 << 20


def compile_protocol():
    """The protocol's Python modules, made from our own description of it."""
    folder = tempfile.mkdtemp(prefix="levada-provider-")
    arguments = ["protoc", f"-I{HERE}", f"--python_out={folder}", f"--grpc_python_out={folder}", "provider.proto"]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refuses provider.proto")
    sys.path.insert(0, folder)
    import provider_pb2
    import provider_pb2_grpc

    return provider_pb2, provider_pb2_grpc


messages, services = compile_protocol()


def uses(folders):
    """The types that Terraform files name, as (kind, name)."""
    found = set()
    for folder in folders:
        for path in pathlib.Path(folder).rglob("*.tf"):
            found.update(USES.findall(path.read_text(encoding="utf-8")))
    return found


def to_message(block):
    """A block as the protocol says it."""
    message = messages.Schema.Block()
    for item in block.attributes:
        message.attributes.add(
            name=item.name, type=json.dumps(item.type).encode(), required=item.required, optional=item.optional, computed=item.computed
        )
    for item in block.blocks:
        limits = {"min_items": int(item.required), "max_items": int(item.at_most_one)} if item.nesting != "single" else {}
        message.block_types.add(type_name=item.name, block=to_message(item.block), nesting=NESTING[item.nesting], **limits)
    return message


def value_of(dynamic):
    """A value of the wire; what is not known yet stays UNKNOWN."""
    if dynamic.msgpack:
        return msgpack.unpackb(dynamic.msgpack, strict_map_key=False, ext_hook=lambda *_: UNKNOWN)
    return json.loads(dynamic.json) if dynamic.json else None


def dynamic(value):
    return messages.DynamicValue(msgpack=msgpack.packb(value))


def children(block, value):
    """Every block below one, as (block, value)."""
    for nested in block.blocks:
        inner = value.get(nested.name)
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                yield nested.block, item


def mark_unknown(block, value):
    """What the provider will only know after it asked AWS."""
    for item in block.attributes:
        if item.computed and value.get(item.name) is None:
            value[item.name] = UNKNOWN
    for inner, item in children(block, value):
        mark_unknown(inner, item)


def make_up(block, value, seed):
    """What AWS might have answered."""
    for item in block.attributes:
        if item.computed and value.get(item.name) in (None, UNKNOWN):
            value[item.name] = made_up(item, seed)
    for inner, item in children(block, value):
        make_up(inner, item, seed)


def made_up(item, seed):
    digest = hashlib.sha256(f"{seed}/{item.name}".encode()).hexdigest()[:16].upper()
    if item.type == "string":
        return f"arn:aws:service:eu-west-1:111122223333:thing:{digest}" if "arn" in item.name.split("_") else digest.lower()
    if item.type == "number":
        return 0
    if item.type == "bool":
        return False
    return {} if item.type[0] == "map" else []


def problem(summary, detail=""):
    return messages.Diagnostic(severity=1, summary=summary, detail=detail)


class Provider(services.ProviderServicer):
    """The protocol, method by method."""

    def __init__(self, package, found):
        self.provider = schema.read(package, "provider", "aws")
        self.resources = {name: schema.read(package, "resource", name) for kind, name in found if kind == "resource"}
        self.data = {name: schema.read(package, "data", name) for kind, name in found if kind == "data"}

    def GetProviderSchema(self, request, context):
        def whole(block):
            return messages.Schema(version=0, block=to_message(block))

        return messages.Schemas(
            provider=whole(self.provider),
            resource_schemas={name: whole(block) for name, block in self.resources.items()},
            data_source_schemas={name: whole(block) for name, block in self.data.items()},
        )

    def ValidateProviderConfig(self, request, context):
        return messages.ProviderChecked()

    def ValidateResourceConfig(self, request, context):
        found = [
            problem(f"{request.type_name}: {path} is {value!r}", f"AWS takes {', '.join(allowed)}")
            for path, value, allowed in enums.wrong(request.type_name, value_of(request.config))
        ]
        return messages.Checked(diagnostics=found)

    def ValidateDataResourceConfig(self, request, context):
        return messages.Checked()

    def UpgradeResourceState(self, request, context):
        return messages.UpgradedState(upgraded_state=dynamic(json.loads(request.raw_state.json)))

    def ConfigureProvider(self, request, context):
        return messages.Checked()

    def ReadResource(self, request, context):
        state = value_of(request.current_state)
        # What was imported is known by its name only.
        make_up(self.resources[request.type_name], state, f"{request.type_name}/{state.get('id')}")
        return messages.ReadState(new_state=dynamic(state))

    def PlanResourceChange(self, request, context):
        proposed = value_of(request.proposed_new_state)
        if proposed is not None and value_of(request.prior_state) is None:
            mark_unknown(self.resources[request.type_name], proposed)
        return messages.Planned(planned_state=dynamic(proposed), legacy_type_system=True)

    def ApplyResourceChange(self, request, context):
        planned = value_of(request.planned_state)
        if planned is not None:
            seed = f"{request.type_name}/{json.dumps(planned, default=str, sort_keys=True)}"
            make_up(self.resources[request.type_name], planned, seed)
        return messages.Applied(new_state=dynamic(planned), legacy_type_system=True)

    def ImportResourceState(self, request, context):
        block = self.resources[request.type_name]
        state = {item.name: None for item in block.attributes}
        for nested in block.blocks:
            state[nested.name] = None if nested.nesting == "single" else []
        state["id"] = request.id
        imported = messages.ImportedResource(type_name=request.type_name, state=dynamic(state))
        return messages.Imported(imported_resources=[imported])

    def ReadDataSource(self, request, context):
        state = value_of(request.config)
        make_up(self.data[request.type_name], state, f"{request.type_name}/{json.dumps(state, default=str, sort_keys=True)}")
        return messages.DataSource(state=dynamic(state))

    def StopProvider(self, request, context):
        return messages.Stopped()


def main():
    package, socket, *folders = sys.argv[1:]
    limits = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.max_send_message_length", MESSAGE_BYTES_MAX)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=limits)
    services.add_ProviderServicer_to_server(Provider(package, uses(folders)), server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    address = {"Network": "unix", "String": socket}
    here = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    print(json.dumps({"registry.terraform.io/hashicorp/aws": here}), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
