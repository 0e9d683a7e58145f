/* SPDX-License-Identifier: Apache-2.0
   What happens by itself: hypervisors, agents that reconcile, crashes, users. */

#define HEAR(h, r) if :: listener[h] != 0 -> listen(listener[h], h, r) :: else fi
inline listen(e, h, r) {
  if
  :: asked[LINE(e, AT_SOURCE)] == TRANSFER + 1 && SRC(asked_of[e - 1]) == h -> answer[LINE(e, AT_SOURCE)] = r
  :: else
  fi;
  listener[h] = 0
}

#define WAITS_AT(e, role) (asked[LINE(e, role)] != 0 && answer[LINE(e, role)] == 0)
#define FINISH_IS_WAITED_FOR(h) (finishing_for[h] != 0 && asked[LINE(finishing_for[h], AT_TARGET)] == COMMIT_TARGET + 1)
inline end_finish(h, r) {
  if :: FINISH_IS_WAITED_FOR(h) -> answer[LINE(finishing_for[h], AT_TARGET)] = r :: else fi;
  finish_runs[h] = 0; finish_alone[h] = 0; finishing_for[h] = 0
}
inline qemu_dies(h) {
  if :: know[h] == K_PERFORMING -> know[h] = K_FAILED; HEAR(h, REFUSED) :: else fi;
  if :: finish_runs[h] -> end_finish(h, REFUSED) :: else fi;
  vanishes(h)
}

/* The record entitles to the very copy that came by the migration of the note, or to one after it. */
#define LATER_THAN_NOTE(h) (epoch == epoch_of[armed[h]] || (HIGHER_EPOCH_CLOSES && epoch > epoch_of[armed[h]]))
#define NO_NOTE_HERE(h) (!NO_START_WHILE_OPEN || !OPEN_NOTE(h))

/* An agent that has nothing to forget and is not being asked anything may die as well: nobody would notice. */
#define HAS_TO_LOSE(h) (OPEN_NOTE(h) || want[h] != 0 || know[h] != K_NONE || floor[h] != 0)

proctype Host(byte h) {
  byte r;
  end: do
  /* -- the transfer ends: all was sent, or it failed -- */
  :: atomic { domain[h] == SENDS && domain[1 - h] == INCOMING && armed[1 - h] == outgoing[h] ->
       complete[1 - h] = 1; stale[1 - h] = 0; domain[h] = STANDS; printf("* host %d: the transfer ends, the guest stands\n", h);
       if :: know[h] == K_PERFORMING -> know[h] = K_ENDED :: else fi }
  :: atomic { domain[h] == SENDS ->
       domain[h] = RUNS; printf("* host %d: the transfer fails, the guest runs on\n", h); if :: know[h] == K_PERFORMING -> know[h] = K_FAILED :: else fi; HEAR(h, REFUSED) }
  /* -- its end is told -- */
  :: atomic { (know[h] == K_ENDED || know[h] == K_TOLD) && listener[h] != 0 && MAY_HEAR(h) -> know[h] = K_TOLD; printf("* host %d tells the end of the transfer\n", h); HEAR(h, OK) }
  /* -- libvirtd comes back: it cancels the transfer; where QEMU had sent all, it lets the guest run again -- */
  :: atomic { domain[h] == LV_SENDS && domain[1 - h] == INCOMING && armed[1 - h] == outgoing[h] ->
       domain[h] = LV_STANDS; complete[1 - h] = 1; stale[1 - h] = 0 }
  :: atomic { domain[h] == LV_SENDS -> domain[h] = RUNS; printf("* host %d: libvirtd is back and cancels the transfer\n", h) }
  :: atomic { domain[h] == LV_STANDS -> printf("* host %d: libvirtd is back and lets the guest run on\n", h); runs_on(h) }
  /* -- Finish is executed; on incomplete memory it waits inside libvirtd -- */
  :: atomic { finish_runs[h] && complete[h] -> printf("* host %d: Finish is executed\n", h); runs_on(h); end_finish(h, OK) }
  /* -- the agent's own deadline for Finish: it answers that it failed, and libvirtd goes on with it -- */
  :: atomic { timeouts < TIMEOUTS && finish_runs[h] && !finish_alone[h] -> timeouts++;
       end_finish(h, REFUSED); finish_runs[h] = 1; finish_alone[h] = 1 }
  /* -- reconcile.ts and vm-step.ts: start what the record entitles to. Read first, start later. -- */
  :: atomic { up[h] && domain[h] == NONE && want[h] == 0 && node == h && epoch > floor[h] && !stopped && NO_NOTE_HERE(h) &&
       (!NO_START_WHILE_OPEN || !OPEN) -> want[h] = epoch; printf("* host %d reads that it shall run placement epoch %d\n", h, epoch) }
  :: atomic { up[h] && want[h] != 0 ->
       if
       :: domain[h] == NONE && (!FLOOR_AT_START || want[h] > floor[h]) && NO_NOTE_HERE(h) -> printf("* host %d starts placement epoch %d\n", h, want[h]); boots(h, want[h])
       :: else
       fi;
       want[h] = 0 }
  /* -- vm-orders.ts, apply: told to run the very copy that came by a migration, the agent knows that it is over. Where it
        ended meanwhile its definition tells the same, as Finish leaves one. -- */
  :: atomic { up[h] && armed[h] != 0 && !armed_closed[h] && !OPEN && node == h && LATER_THAN_NOTE(h) && epoch > floor[h] &&
       domain[h] != INCOMING -> armed_closed[h] = 1; earlier[h] = 0; prepared[h] = 0 }
  /* -- forgotten-preparations.ts: a note of an earlier life; the record names another migration, or none -- */
  :: atomic { up[h] && earlier[h] && IS_OVER(armed[h]) && !(node == h && epoch == epoch_of[armed[h]]) ->
       raise_floor(h, epoch_of[armed[h]]); armed_closed[h] = 1; earlier[h] = 0 }
  /* -- assign.ts of the Scheduler, renew: the node gave up what the record entitles it to, so it gets the right anew -- */
  :: atomic { up[h] && !OPEN && node == h && epoch <= floor[h] ->
       last_epoch = (floor[h] > last_epoch -> floor[h] : last_epoch) + 1; epoch = last_epoch; printf("* host %d gets placement epoch %d\n", h, epoch) }
  /* -- vm-step.ts, takeOver: the same copy under the epoch of the record -- */
  :: atomic { up[h] && !OPEN && node == h && !OPEN_NOTE(h) && domain[h] == RUNS && copy[h] < epoch && (FLOORED_COPY_TAKEN_OVER && epoch > floor[h] || copy[h] > floor[h]) -> copy[h] = epoch }
  /* -- a stop that its user asked for, once no migration is open: the leader tells the node of the record -- */
  :: atomic { stopped && up[h] && domain[h] == RUNS && node == h && !OPEN && copy[h] > floor[h] ->
       forget_closed(h);
       if :: !OPEN_NOTE(h) -> vanishes(h) :: else fi }
  /* -- a host that was off comes back: joining is one transaction -- */
  :: atomic { !up[h] && may_boot[h] -> up[h] = 1; join(h) }
  /* -- crashes -- */
  :: atomic { faults < FAULTS && up[h] && HAS_TO_LOSE(h) -> faults++; agent_dies(h) }
  :: atomic { faults < FAULTS && domain[h] == SENDS -> faults++; domain[h] = LV_SENDS; printf("* host %d: libvirtd dies, QEMU goes on\n", h); know[h] = K_NONE; HEAR(h, REFUSED) }
  :: atomic { faults < FAULTS && domain[h] != NONE && HYPERVISOR_ANSWERS(h) -> faults++; printf("* host %d: QEMU dies\n", h); qemu_dies(h) }
  :: atomic { faults < FAULTS && up[h] -> faults++; host_stops(h) }
  od
}

/* An answer that does not come although nothing crashed: the order may still be worked, now or much later. */
proctype Impatience(byte e) {
  end: do
  :: atomic { timeouts < TIMEOUTS && WAITS_AT(e, AT_SOURCE) -> timeouts++; answer[LINE(e, AT_SOURCE)] = TIMED_OUT; printf("* leader %d waits no longer for the source\n", e) }
  :: atomic { timeouts < TIMEOUTS && WAITS_AT(e, AT_TARGET) -> timeouts++; answer[LINE(e, AT_TARGET)] = TIMED_OUT; printf("* leader %d waits no longer for the target\n", e) }
  od
}

#if WISHES > 0
/* The third host's agent is told by the Scheduler's assignments what the VM shall be, as each is (assign.ts). It is in no
   migration, so nothing holds its hand. */
proctype Third() {
  end: do
  :: atomic { stopped && node == C && domain[C] == RUNS -> printf("* host %d stops it\n", C); domain[C] = NONE; copy[C] = 0 }
  od
}

/* queue.ts: a cancel is taken until Commit(target) is being sent by the leader that has it in hand. A stop cancels, too. */
proctype User() {
  end: do
  :: atomic { wishes < WISHES && OPEN && !cancelled && CANCELLABLE(journal) &&
       !(COMMIT_FLAG && in_hand[session - 1] == current && commit_sent[session - 1]) -> wishes++; cancelled = 1; printf("* a user cancels\n");
       if :: in_hand[session - 1] == current -> interrupted[session - 1] = 1 :: else fi }
  :: atomic { wishes < WISHES && !stopped -> wishes++; stopped = 1; printf("* a user stops the VM\n");
       if
       :: OPEN && CANCELLABLE(journal) && !(COMMIT_FLAG && in_hand[session - 1] == current && commit_sent[session - 1]) ->
         cancelled = 1; if :: in_hand[session - 1] == current -> interrupted[session - 1] = 1 :: else fi
       :: else
       fi }
  od
}
#endif

/* When nothing moves any more, everything is as it shall be. */
active proctype Ends() {
  end: timeout ->
  assert(at_rest == session);
  assert(!OPEN);                                             /* INV-5: a terminal state */
  assert(COPIES == (stopped -> 0 : 1));                      /* INV-2 */
  assert(stopped || RUNNING(domain[node]));
  assert(node == A || !up[A] || domain[A] == NONE);          /* INV-5: nothing is left over */
  assert(node == B || !up[B] || domain[B] == NONE);
  assert(!(up[A] && OPEN_NOTE(A)) && !(up[B] && OPEN_NOTE(B)));
  assert(!finish_runs[A] && !finish_runs[B]);
  skip
}

init {
  byte e, g;
  atomic {
    up[A] = 1; up[B] = 1; may_boot[A] = 1; may_boot[B] = 1; domain[A] = RUNS; copy[A] = 1;
    run Host(A); run Host(B);
#if WISHES > 0
    run User(); run Third();
#endif
    e = 1;
    do
    :: e <= LEADERS ->
      run Leader(e); run Impatience(e); g = 1;
      do :: g <= MIGRATIONS -> run Delivery(e, g); g++ :: else -> break od;
      e++
    :: else -> break
    od
  }
}
