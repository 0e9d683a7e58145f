/* SPDX-License-Identifier: Apache-2.0
   The guards of the protocol. -DNAME=0 takes one away, and then Spin has to find an error: `npm run model -- --guards`. */

#ifndef LOWER_EPOCHS_REFUSED
#define LOWER_EPOCHS_REFUSED 1 /* an agent refuses leader epochs below the highest it has seen (orders.ts) */
#endif
#ifndef EPOCH_RAISED_AT_SEIZE
#define EPOCH_RAISED_AT_SEIZE 1 /* a question raises the epoch, too (orders.ts) */
#endif
#ifndef DURABLE_MEMORY
#define DURABLE_MEMORY 1 /* epochs and floors survive the agent's restart: one document, written as one (durable-memory.ts) */
#endif
#ifndef EPOCH_READ_AT_JOIN
#define EPOCH_READ_AT_JOIN 1 /* an agent that comes back reads the leader's epoch before its first order (joining.ts) */
#endif
#ifndef INCARNATION_IN_ORDERS
#define INCARNATION_IN_ORDERS 1 /* an order for an earlier life of the agent is refused (orders.ts) */
#endif
#ifndef SESSION_IN_WRITES
#define SESSION_IN_WRITES 1 /* every write of a leader checks its session (ledger.ts) */
#endif
#ifndef PROOF_IN_WRITES
#define PROOF_IN_WRITES 1 /* a restart checks in its own transaction that the host still counts as FENCED */
#endif
#ifndef FLOOR_AT_ABORT
#define FLOOR_AT_ABORT 1 /* Abort(target) leaves a durable floor (target.ts) */
#endif
#ifndef FLOOR_AT_GIVE_UP
#define FLOOR_AT_GIVE_UP 1 /* GiveUp leaves one, too (vm-orders.ts) */
#endif
#ifndef FLOOR_AT_PREPARE
#define FLOOR_AT_PREPARE 1 /* nothing at or under the floor is prepared (target.ts) */
#endif
#ifndef FLOOR_AT_START
#define FLOOR_AT_START 1 /* nor started, although the record entitled to it when it was read (reconcile.ts) */
#endif
#ifndef OWN_NOTE_AT_RESUME
#define OWN_NOTE_AT_RESUME 1 /* what stands for another migration is not resumed: a late Abort(source) of a closed one (source.ts) */
#endif
#ifndef LATE_GIVE_UP_REFUSED
#define LATE_GIVE_UP_REFUSED 1 /* GiveUp of a migration that is over does not touch what the next one needs (vm-orders.ts) */
#endif
#ifndef FRESH_EPOCH_WHEN_COLD
#define FRESH_EPOCH_WHEN_COLD 1 /* a restart draws a placement epoch that was never used (cold.ts) */
#endif
#ifndef RUNNING_IS_NOT_ABORTED
#define RUNNING_IS_NOT_ABORTED 1 /* Abort(target) does not touch a guest that runs (target.ts) */
#endif
#ifndef RUNNING_IS_NOT_GIVEN_UP
#define RUNNING_IS_NOT_GIVEN_UP 1 /* GiveUp does not either (vm-orders.ts) */
#endif
#ifndef FINISHING_MARK
#define FINISHING_MARK 1 /* the mark `finishing` tells never-ran from may-have-run (durable-memory.ts) */
#endif
#ifndef BOOT_ID_IN_ARMED
#define BOOT_ID_IN_ARMED 1 /* the note `armed` of an earlier boot means may-have-run (facts.ts) */
#endif
#ifndef ONE_GUEST_PER_MIGRATION
#define ONE_GUEST_PER_MIGRATION 1 /* a repeated Prepare never builds a second guest (target.ts) */
#endif
#ifndef CLOSED_AT_SOURCE
#define CLOSED_AT_SOURCE 1 /* a late Prepare of a closed migration is refused (closedMigrations) */
#endif
#ifndef NO_START_WHILE_OPEN
#define NO_START_WHILE_OPEN 1 /* nothing is started while a migration is open, by a note or by the record (vm-step.ts, reconcile.ts) */
#endif
#ifndef END_TO_HIGHEST_ONLY
#define END_TO_HIGHEST_ONLY 1 /* the end of the transfer is told to the highest leader only (transfer.ts) */
#endif
#ifndef TARGET_FIRST
#define TARGET_FIRST 1 /* the source runs on only after the target gave up (settle.ts) */
#endif
#ifndef READ_BACK
#define READ_BACK 1 /* ... and after its answer to that was looked at (hasGivenUp) */
#endif
#ifndef NOTES_DROPPED
#define NOTES_DROPPED 1 /* an agent drops the notes of migrations that are over (assign.ts, forgotten-preparations.ts) */
#endif
#ifndef COMMIT_FLAG
#define COMMIT_FLAG 1 /* no cancel once Commit(target) is being sent (attempt.ts) */
#endif
#ifndef HIGHER_EPOCH_CLOSES
#define HIGHER_EPOCH_CLOSES 1 /* told to run a placement that is later than a note's, the agent knows that its migration is over (vm-orders.ts) */
#endif
#ifndef FLOORED_COPY_TAKEN_OVER
#define FLOORED_COPY_TAKEN_OVER 1 /* a copy that runs although it was given up is taken over by a later placement here (vm-step.ts) */
#endif

/* Second locks: the code has them, and whatever they would stop is stopped by a guard above, within every bound that was
   tried. README.md says by which. They can be taken away like the guards. */
#ifndef FLOOR_AT_FINISH
#define FLOOR_AT_FINISH 1 /* second lock: nothing at or under the floor is finished (target.ts) */
#endif
#ifndef FLOOR_AT_RESUME
#define FLOOR_AT_RESUME 1 /* second lock: nor resumed (source.ts) */
#endif
#ifndef QUESTIONS_IN_QUEUE
#define QUESTIONS_IN_QUEUE 1 /* second lock: facts are told in the VM's turn, not while Finish is being executed (vm-queues.ts) */
#endif
