/* SPDX-License-Identifier: Apache-2.0

   Live migrations of ONE virtual machine between two hosts, A and B; a third, C, is where it can be started anew.
   Checked are services/scheduler/migrations (the leader), services/node-agent/migration with reconcile and joining (the
   agents), services/core/migration (tables.pml is GENERATED from recovery.ts and transitions.ts, so what is checked is the
   table that runs), and the proof of fencing: the key nodes/N that says FENCED until N joins again.

   How to read Promela. Processes run side by side; Spin tries every order of their steps.
     atomic { ... }      one step, unless it has to wait inside
     if :: a :: b fi     one of the options that can go on, any of them; `else` if none can; waits while none can
     do :: a :: b od     the same, again and again
     x -> y              waits until x holds, then does y
     inline f(x) {...}   text that is put in where f is called
     assert(x)           an error if x does not hold; Spin then prints the steps that led there
     end...:             a label where a process may stand for ever; standing anywhere else is an error

   Bounds, set from outside: LEADERS, MIGRATIONS, FAULTS (crashes of anything, anywhere), TIMEOUTS (an answer that does not
   come although nothing crashed, also a Fencer that is wrong), DUPLICATES (an order that is worked twice), WISHES (a user
   cancels or stops). NO_... takes one guard away; guards.ts lists them. */

#ifndef LEADERS
#define LEADERS 2
#endif
#ifndef MIGRATIONS
#define MIGRATIONS 1
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#ifndef DUPLICATES
#define DUPLICATES 0
#endif
#ifndef WISHES
#define WISHES 0
#endif

#include "tables.pml"
#include "guards.pml"

#define A 0
#define B 1
#define C 2

/* ---- what a host has of the VM ---- */
#define NONE 0
#define RUNS 1
#define SENDS 2        /* runs, and its memory is being sent */
#define STANDS 3       /* paused by migration: all was sent */
#define INCOMING 4     /* paused: is being received, or was */
#define LV_SENDS 5     /* as SENDS, but libvirtd died and QEMU goes on by itself */
#define LV_STANDS 6    /* the same when all was sent: libvirtd will resume it as it comes back */

/* ---- what the source's agent knows of its transfer in this life (Transfer.knowledge) ---- */
#define K_NONE 0
#define K_BEGUN 1
#define K_PERFORMING 2
#define K_ENDED 3
#define K_TOLD 4
#define K_FAILED 5

/* ---- the agent of each host: lost with the agent's process ---- */
byte domain[3];
byte copy[3];                 /* the placement epoch in the domain's metadata */
bit stale[2];                 /* another copy has run since this memory was current */
bit complete[2];              /* all memory has come */
byte know[2];
byte listener[2];             /* the leader that follows the transfer's stream */
byte prepared[2];             /* the migration whose incoming guest hangs on this agent's connection */
byte finishing_for[2];        /* Finish is inside libvirtd; the leader that waits for it */
bit finish_runs[2];
bit finish_alone[2];          /* ... and its agent died or stopped waiting: nobody holds the VM's queue any more */
byte want[2];                 /* the agent read the record, which entitles it to this epoch, and is about to start the VM */

/* ---- durable memory (durable-memory.ts) ---- */
byte highest[2];              /* leader epoch */
byte floor[2];
byte outgoing[2]; bit started[2];
byte armed[2]; bit armed_closed[2];
bit rebooted[2]; bit earlier[2];      /* armed in an earlier boot; open, and of an earlier life of the agent */
byte mark[2];                 /* `finishing`: the migration; survives the process, not the boot */
byte closed[2];               /* closedMigrations, one bit each */
bit up[2]; bit may_boot[2];

/* ---- the store ---- */
byte session = 1;             /* the leader whose session holds the lock; its number is its epoch */
byte next_state = 0, arg = 0, arg2 = 0;      /* of what is written in C */
byte journal = MS_SUCCEEDED;  /* of the current migration, or of the last */
byte node = A; byte epoch = 1; byte last_epoch = 1;
byte current = 0;             /* number of the current migration; the VM is locked while its journal is not terminal */
bit cancelled = 0; bit stopped = 0;
bit fenced[2];
byte source[MIGRATIONS + 1]; byte epoch_of[MIGRATIONS + 1]; byte left_epoch[MIGRATIONS + 1];
#define SRC(g) (source[g])
#define TGT(g) (1 - source[g])
#define OPEN (!TERMINAL(journal))

/* ---- orders on their way: a set of bits for each leader and migration ---- */
#define PREPARE_SOURCE 0
#define TRANSFER 1
#define COMMIT_SOURCE 2
#define ABORT_SOURCE 3
#define GIVE_UP_SOURCE 4
#define SEIZE_SOURCE 5
#define PREPARE_TARGET 6
#define COMMIT_TARGET 7
#define ABORT_TARGET 8
#define GIVE_UP_TARGET 9
#define SEIZE_TARGET 10
#define TO_SOURCE 63
#define TO_TARGET (31 << 6)
short sent[LEADERS * MIGRATIONS];
#define ORDERS(e, g) sent[((e) - 1) * MIGRATIONS + (g) - 1]
#define PENDING(e, g, k) (ORDERS(e, g) & (1 << (k)))

/* ---- calls: each leader waits for at most one answer of each end ---- */
#define AT_SOURCE 0
#define AT_TARGET 1
#define ROLE(k) ((k) >= PREPARE_TARGET -> AT_TARGET : AT_SOURCE)
byte asked[LEADERS * 2];      /* what is waited for, + 1 */
byte asked_of[LEADERS];       /* about which migration */
byte answer[LEADERS * 2];
bit interrupted[LEADERS];     /* the attempt's AbortController */
bit commit_sent[LEADERS];     /* Attempt.commit, which a cancel looks at */
byte in_hand[LEADERS];        /* the migration that the leader has in hand */
byte at_rest = 0;             /* the leader that has nothing left to do */
#define LINE(e, role) (((e) - 1) * 2 + (role))
#define BROKEN 20             /* the connection broke */
#define OK 21
#define REFUSED 22
#define VM_RUNNING 23
#define TIMED_OUT 24

byte faults = 0, timeouts = 0, duplicates = 0, wishes = 0;

#define RUNNING(d) ((d) == RUNS || (d) == SENDS || (d) == LV_SENDS)
#define COPIES ((RUNNING(domain[A]) -> 1 : 0) + (RUNNING(domain[B]) -> 1 : 0) + (RUNNING(domain[C]) -> 1 : 0))
#define INV_1 assert(COPIES <= 1)

/* The guest at h begins to run from the memory it has: everybody else's memory is old from now on. */
inline runs_on(h) {
  domain[h] = RUNS;
  INV_1;
  assert(!stale[h]);          /* INV-8 */
  stale[1 - (h)] = 1
}
/* The guest at h is started from its disk. */
inline boots(h, e) {
  domain[h] = RUNS; copy[h] = e;
  INV_1;
  stale[h] = 0; stale[1 - (h)] = 1
}
inline vanishes(h) { domain[h] = NONE; copy[h] = 0; stale[h] = 0; complete[h] = 0 }

#include "hosts.pml"
#include "leader.pml"
#include "world.pml"
