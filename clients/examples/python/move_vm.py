# SPDX-License-Identifier: Apache-2.0
"""Lists the nodes of a cluster, or moves a VM and waits for the end: move_vm.py SERVER [VM TARGET]."""

import sys
import uuid

import grpc
from lockstep.v1 import migration_pb2, scheduler_service_pb2 as api, scheduler_service_pb2_grpc

State = migration_pb2.MigrationState
ENDS = (State.MIGRATION_STATE_SUCCEEDED, State.MIGRATION_STATE_ABORTED, State.MIGRATION_STATE_FAILED)


def move(scheduler, vm, target):
    """Asks for the move and follows it; true if the VM runs on the target."""
    request = api.CreateMigrationRequest(request_id=str(uuid.uuid4()), vm=vm, target_node=target)
    migration = scheduler.CreateMigration(request, timeout=10).migration
    for update in scheduler.WatchMigrations(api.WatchMigrationsRequest(id=migration.id)):
        for migration in update.changed:
            left = migration.progress.memory_remaining_bytes // 2**20
            print(f"{State.Name(migration.state)} {left} MiB left", file=sys.stderr)
        if migration.state in ENDS:
            break
    print(f"{migration.vm_name}: {State.Name(migration.state)} {migration.detail}".rstrip())
    return migration.state == State.MIGRATION_STATE_SUCCEEDED


def main(server, *vm_and_target):
    with grpc.insecure_channel(server) as channel:
        scheduler = scheduler_service_pb2_grpc.SchedulerServiceStub(channel)
        try:
            for node in scheduler.ListNodes(api.ListNodesRequest(), timeout=10).nodes:
                print(node.name, node.address, "ready" if node.ready else node.not_ready_reason)
            return 0 if not vm_and_target or move(scheduler, *vm_and_target) else 1
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
