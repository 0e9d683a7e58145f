// SPDX-License-Identifier: Apache-2.0

/** A VM that waits to be recovered, as far as its turn depends on it. */
export interface RecoveryCandidate {
  id: string;
  name: string;
  /** Higher comes first. */
  priority: number;
  /** Names or UUIDs of VMs that are started before it. */
  startAfter: readonly string[];
}

/** The order in which VMs are recovered: by priority, then by name, so that every leader comes to the same. */
export function byRecoveryOrder(left: RecoveryCandidate, right: RecoveryCandidate): number {
  return right.priority - left.priority || (left.name < right.name ? -1 : left.name > right.name ? 1 : 0);
}

/**
 * Which of these a VM waits for: those it names that are not up yet. `isUp` tells of a VM by name or UUID; one that
 * is not known is waited for by nobody. VMs that name each other wait for neither.
 */
export function waitsFor<T extends RecoveryCandidate>(
  vm: T,
  find: (nameOrId: string) => T | undefined,
  isUp: (vm: T) => boolean,
): T[] {
  return vm.startAfter.flatMap((name) => {
    const first = find(name);
    if (first === undefined || first.id === vm.id || isUp(first)) return [];
    return dependsOn(first, vm.id, find) ? [] : [first];
  });
}

/** Whether a VM comes after another by any chain of those it names. */
function dependsOn<T extends RecoveryCandidate>(vm: T, id: string, find: (nameOrId: string) => T | undefined): boolean {
  const seen = new Set<string>();
  const open = [vm];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next.id)) continue;
    seen.add(next.id);
    for (const name of next.startAfter) {
      const first = find(name);
      if (first?.id === id) return true;
      if (first !== undefined) open.push(first);
    }
  }
  return false;
}
