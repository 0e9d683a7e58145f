/* SPDX-License-Identifier: Apache-2.0
   The agents: services/node-agent. An order is one step, as a VM's orders are worked one after another (vm-queues.ts). */

c_code {
/* Orders of leaders below this epoch that are still on their way to a host will find nobody who works them. */
static void forget_orders_to(int host, int below) {
  int e, g;
  for (e = 1; e < below && e <= LEADERS; e++)
    for (g = 1; g <= MIGRATIONS; g++)
      now.sent[(e - 1) * MIGRATIONS + g - 1] &= now.source[g] == host ? ~TO_SOURCE : ~TO_TARGET;
}
static void break_calls(int host) {
  int e;
  for (e = 1; e <= LEADERS; e++) {
    int g = now.asked_of[e - 1], role = now.source[g] == host ? AT_SOURCE : AT_TARGET, line = LINE(e, role);
    if (g != 0 && host != C && now.asked[line] != 0 && now.answer[line] == 0) now.answer[line] = BROKEN;
  }
}
}

/* -- facts.ts -- */
inline source_fact(h, r) {
  if
  :: domain[h] == LV_SENDS || domain[h] == LV_STANDS -> r = SF_LVDOWN
  :: domain[h] == NONE -> r = SF_LOST
  :: domain[h] == SENDS -> r = SF_TRANSFERRING
  :: domain[h] == RUNS -> r = SF_RUNNING
  :: domain[h] == STANDS || domain[h] == INCOMING -> r = (know[h] == K_ENDED -> SF_UNTOLD : SF_STANDS)
  fi
}
#define MAY_HAVE_RUN(h, g) ((FINISHING_MARK && mark[h] == (g)) || (BOOT_ID_IN_ARMED && armed[h] == (g) && rebooted[h]))
inline target_fact(h, g, r) {
  if
  :: domain[h] == LV_SENDS || domain[h] == LV_STANDS -> r = TF_UNREACHABLE
  :: domain[h] == INCOMING || domain[h] == STANDS -> r = TF_INCOMING
  :: domain[h] == RUNS || domain[h] == SENDS -> r = TF_RUNNING
  :: domain[h] == NONE -> r = (MAY_HAVE_RUN(h, g) -> TF_MAYBE : TF_NEVER)
  fi
}

/* -- orders.ts: an epoch that is higher than any before is kept; orders of lower ones that are on their way will be refused,
      so they are taken off at once. A leader that has been outrun anywhere learns it and ends (leader.pml). -- */
inline forget_orders_to(h, below) { arg = h; arg2 = below; c_code { forget_orders_to(now.arg, now.arg2); }; arg = 0; arg2 = 0 }
inline admit(h, e) {
  if
  :: (e) > highest[h] ->
    highest[h] = e;
    if
    :: LOWER_EPOCHS_REFUSED ->
      forget_orders_to(h, e);
      if :: END_TO_HIGHEST_ONLY && listener[h] != 0 && listener[h] < (e) -> listener[h] = 0 :: else fi
    :: else
    fi
  :: else
  fi
}
inline take(e, g, k) {
  if
  :: ORDERS(e, g) = ORDERS(e, g) & ~(1 << (k))
  :: duplicates < DUPLICATES -> duplicates++      /* it will come once more */
  fi
}
inline tell(e, g, k, r) {
  if
  :: r != 0 && asked[LINE(e, ROLE(k))] == (k) + 1 && asked_of[(e) - 1] == (g) -> answer[LINE(e, ROLE(k))] = r
  :: else                                          /* not answered yet, or nobody waits any more */
  fi
}
/* Every call to the agent of h fails. */
inline break_calls(h) { arg = h; c_code { break_calls(now.arg); }; arg = 0 }

/* What an agent reads in the record of a migration that it has a note of. */
#define IS_OVER(g) (NOTES_DROPPED && !(OPEN && (g) == current))

/* -- joining.ts and assign.ts: incarnation + 1, FENCED cleared, the leader's epoch read, notes of closed migrations dropped -- */
inline join(h) {
  printf("* host %d joins: what counted it as FENCED counts no more\n", h);
  fenced[h] = 0;
  if :: INCARNATION_IN_ORDERS -> break_calls(h); forget_orders_to(h, LEADERS + 1) :: else fi;
  if :: EPOCH_READ_AT_JOIN -> admit(h, session) :: else fi;
  if
  :: outgoing[h] != 0 && IS_OVER(outgoing[h]) ->
    closed[h] = closed[h] | (1 << outgoing[h]); outgoing[h] = 0; started[h] = 0
  :: else
  fi;
  if :: armed[h] != 0 && IS_OVER(armed[h]) -> armed_closed[h] = 1 :: else fi;
  earlier[h] = (armed[h] != 0 && !armed_closed[h])
}

/* The agent's process ends and is started again: its guests are not touched, what hangs on its connections is. */
inline agent_dies(h) {
  printf("* host %d: the agent's process ends and is started again\n", h);
  break_calls(h);
  know[h] = K_NONE; listener[h] = 0; want[h] = 0; prepared[h] = 0;
  if
  :: finish_runs[h] -> finish_alone[h] = 1; finishing_for[h] = 0
  :: else -> if :: domain[h] == INCOMING -> vanishes(h) :: else fi
  fi;
  if :: !DURABLE_MEMORY -> highest[h] = 0; floor[h] = 0 :: else fi;
  join(h)
}

/* The host goes off, with everything on it that is not on its disk. */
inline host_stops(h) {
  printf("* host %d goes off\n", h);
  break_calls(h);
  up[h] = 0; vanishes(h);
  know[h] = K_NONE; listener[h] = 0; prepared[h] = 0; want[h] = 0;
  finish_runs[h] = 0; finish_alone[h] = 0; finishing_for[h] = 0;
  mark[h] = 0; rebooted[h] = (armed[h] != 0);
  if :: INCARNATION_IN_ORDERS -> forget_orders_to(h, LEADERS + 1) :: else fi;
  if :: may_boot[h] -> may_boot[h] = 0 :: skip fi    /* perhaps it never comes back */
}

/* The agent dies inside of an order: its first deeds are done, the others are not. */
#define DIES_HERE(h) faults < FAULTS -> faults++; dies = 1

#define OPEN_NOTE(h) (outgoing[h] != 0 || (armed[h] != 0 && !armed_closed[h]))
#define QUEUE_IS_FREE(h) (up[h] && (!finish_runs[h] || finish_alone[h]))
#define HYPERVISOR_ANSWERS(h) (domain[h] != LV_SENDS && domain[h] != LV_STANDS)
#define READY(h) (QUEUE_IS_FREE(h) && HYPERVISOR_ANSWERS(h))

inline close_outgoing(h, g) {
  closed[h] = closed[h] | (1 << (g));
  if :: outgoing[h] == (g) -> outgoing[h] = 0; started[h] = 0; know[h] = K_NONE; listener[h] = 0 :: else fi
}
inline close_armed(h, g) { if :: armed[h] == (g) -> armed_closed[h] = 1; earlier[h] = 0 :: else fi; if :: prepared[h] == (g) -> prepared[h] = 0 :: else fi }
/* forgetClosedPreparation: looked at where such a note is in the way. */
inline forget_closed(h) { if :: armed[h] != 0 && !armed_closed[h] && IS_OVER(armed[h]) -> armed_closed[h] = 1; earlier[h] = 0 :: else fi }
inline raise_floor(h, to) { if :: floor[h] < (to) -> floor[h] = to :: else fi }
inline destroyed(h, g) {
  assert(!RUNNING(domain[h]));          /* INV-2: no order of a migration ends a guest that runs */
  assert(g == current);                 /* ... nor does one of a migration that is over end what stands for the next */
  vanishes(h); finish_runs[h] = 0; finish_alone[h] = 0
}
inline remove_standing(h, g, up_to) { if :: domain[h] != NONE && copy[h] <= (up_to) -> destroyed(h, g) :: else fi }

/* -- source.ts -- */
inline prepare_source(h, e, g) {
  if :: know[h] != K_BEGUN || outgoing[h] != g -> forget_closed(h) :: else fi;
  if
  :: know[h] == K_BEGUN && outgoing[h] == g -> r = OK
  :: !(know[h] == K_BEGUN && outgoing[h] == g) &&
     ((CLOSED_AT_SOURCE && (closed[h] & (1 << g))) || (outgoing[h] == g && started[h]) || (outgoing[h] != g && OPEN_NOTE(h)) ||
      domain[h] != RUNS || copy[h] != left_epoch[g] || left_epoch[g] <= floor[h]) -> r = REFUSED
  :: else ->
    outgoing[h] = g; started[h] = 0;
    if :: know[h] = K_BEGUN; r = OK :: DIES_HERE(h) fi
  fi
}
inline transfer(h, e, g) {
  if
  :: know[h] == K_NONE || outgoing[h] != g -> r = REFUSED
  :: know[h] == K_BEGUN && outgoing[h] == g ->
    started[h] = 1;
    if
    :: domain[h] == RUNS -> domain[h] = SENDS; know[h] = K_PERFORMING; listener[h] = e
    :: domain[h] != RUNS -> know[h] = K_FAILED; r = REFUSED
    :: DIES_HERE(h)
    fi
  :: know[h] == K_FAILED && outgoing[h] == g -> r = REFUSED
  :: know[h] > K_BEGUN && know[h] != K_FAILED && outgoing[h] == g -> listener[h] = e      /* attaches */
  fi
}
/* The end of the transfer is told to the leader that follows it, unless a higher one has spoken meanwhile (transfer.ts). */
#define MAY_HEAR(h) (!END_TO_HIGHEST_ONLY || listener[h] >= highest[h])
inline commit_source(h, e, g) {
  if
  :: know[h] == K_PERFORMING || (RUNNING(domain[h]) && copy[h] <= left_epoch[g]) -> r = VM_RUNNING
  :: else ->
    raise_floor(h, left_epoch[g]);
    if
    :: remove_standing(h, g, left_epoch[g]); close_outgoing(h, g); r = OK
    :: DIES_HERE(h)
    fi
  fi
}
inline abort_source(h, e, g) {
  if
  :: domain[h] == SENDS && outgoing[h] == g -> domain[h] = RUNS
  :: domain[h] == STANDS && copy[h] == left_epoch[g] && (!FLOOR_AT_RESUME || left_epoch[g] > floor[h]) &&
     !(armed[h] != 0 && !armed_closed[h]) && !(OWN_NOTE_AT_RESUME && outgoing[h] != 0 && outgoing[h] != g) -> runs_on(h)
  :: else
  fi;
  if
  :: close_outgoing(h, g); source_fact(h, r)
  :: DIES_HERE(h)
  fi
}

/* -- target.ts -- */
inline prepare_target(h, e, g) {
  if :: armed[h] != g -> forget_closed(h) :: else fi;
  if
  :: prepared[h] == g && domain[h] == INCOMING -> r = OK
  :: !(prepared[h] == g && domain[h] == INCOMING) &&
     (outgoing[h] != 0 || (armed[h] != 0 && armed[h] != g && !armed_closed[h]) || domain[h] != NONE ||
      (FLOOR_AT_PREPARE && epoch_of[g] <= floor[h]) || (ONE_GUEST_PER_MIGRATION && armed[h] == g)) -> r = REFUSED
  :: else ->
    armed[h] = g; armed_closed[h] = 0; earlier[h] = 0; rebooted[h] = 0; mark[h] = 0;
    if
    :: domain[h] = INCOMING; copy[h] = epoch_of[g]; complete[h] = 0; stale[h] = 0; prepared[h] = g; r = OK
    :: armed_closed[h] = 1; r = REFUSED            /* QEMU could not be built */
    :: DIES_HERE(h)
    fi
  fi
}
/* Finish is given to libvirtd here, and done by it later (world.pml): where memory is incomplete it waits for it. */
inline commit_target(h, e, g) {
  if
  :: FLOOR_AT_FINISH && epoch_of[g] <= floor[h] -> r = REFUSED
  :: !(FLOOR_AT_FINISH && epoch_of[g] <= floor[h]) && domain[h] == RUNS && copy[h] == epoch_of[g] -> r = OK
  :: !(FLOOR_AT_FINISH && epoch_of[g] <= floor[h]) && domain[h] == INCOMING && copy[h] == epoch_of[g] ->
    mark[h] = g; finish_runs[h] = 1; finish_alone[h] = 0; finishing_for[h] = e
  :: else -> r = REFUSED
  fi
}
inline abort_target(h, e, g) {
  if
  :: RUNNING_IS_NOT_ABORTED && (domain[h] == RUNS || domain[h] == SENDS) -> target_fact(h, g, r)
  :: else ->
    if :: FLOOR_AT_ABORT -> raise_floor(h, epoch_of[g]) :: else fi;
    if
    :: if :: domain[h] != NONE && copy[h] <= epoch_of[g] -> destroyed(h, g) :: else fi;
       close_armed(h, g); target_fact(h, g, r)
    :: finish_alone[h] && complete[h] && domain[h] == INCOMING ->
       printf("* host %d: libvirtd executes the Finish that it still has in hand, in the middle of Abort\n", h);
       runs_on(h); finish_runs[h] = 0; finish_alone[h] = 0; r = REFUSED
    :: DIES_HERE(h)
    fi
  fi
}

/* -- vm-orders.ts: GiveUp names the migration's own epoch, so that it covers both copies -- */
#define COMES_FROM_BEFORE(h, g) ((armed[h] != 0 && !armed_closed[h] && epoch_of[armed[h]] > epoch_of[g]) || \
  (outgoing[h] != 0 && outgoing[h] != (g) && (closed[h] & (1 << (g)))))
inline give_up(h, e, g) {
  if
  :: LATE_GIVE_UP_REFUSED && COMES_FROM_BEFORE(h, g) -> r = REFUSED
  :: !(LATE_GIVE_UP_REFUSED && COMES_FROM_BEFORE(h, g)) && RUNNING_IS_NOT_GIVEN_UP && RUNNING(domain[h]) -> r = VM_RUNNING
  :: else ->
    if :: FLOOR_AT_GIVE_UP -> raise_floor(h, epoch_of[g]) :: else fi;
    if
    :: /* closing the connection destroys what was prepared on it, of whatever migration */
       if
       :: domain[h] != NONE && (copy[h] <= epoch_of[g] || (domain[h] == INCOMING && prepared[h] != 0)) -> destroyed(h, g)
       :: else
       fi;
       if :: outgoing[h] != 0 -> close_outgoing(h, outgoing[h]) :: else fi;
       know[h] = K_NONE; listener[h] = 0; prepared[h] = 0;
       if :: armed[h] != 0 -> armed_closed[h] = 1; earlier[h] = 0 :: else fi;
       r = OK
    :: DIES_HERE(h)
    fi
  fi
}

inline seize_source(h, e, g) {
  source_fact(h, r);
  if :: know[h] == K_ENDED && r == SF_UNTOLD -> know[h] = K_TOLD :: else fi
}

/* A question waits for its turn, too: facts told while Finish is being executed would be of a moment that is over. */
#define MAY_LOOK(h) (up[h] && (!QUESTIONS_IN_QUEUE || QUEUE_IS_FREE(h)))
#define CAN_COME(k, ready) PENDING(e, g, k) && ready -> order = k

/* What leader e has sent about migration g comes to its host, in any order and at any time. */
proctype Delivery(byte e, g) {
  byte h, r, order;
  bit dies;
  end: do
  :: atomic {
       if
       :: CAN_COME(PREPARE_SOURCE, READY(SRC(g)))
       :: CAN_COME(TRANSFER, READY(SRC(g)))
       :: CAN_COME(COMMIT_SOURCE, READY(SRC(g)))
       :: CAN_COME(ABORT_SOURCE, READY(SRC(g)))
       :: CAN_COME(GIVE_UP_SOURCE, READY(SRC(g)))
       :: CAN_COME(SEIZE_SOURCE, MAY_LOOK(SRC(g)))
       :: CAN_COME(PREPARE_TARGET, READY(TGT(g)))
       :: CAN_COME(COMMIT_TARGET, READY(TGT(g)))
       :: CAN_COME(ABORT_TARGET, READY(TGT(g)))
       :: CAN_COME(GIVE_UP_TARGET, READY(TGT(g)))
       :: CAN_COME(SEIZE_TARGET, MAY_LOOK(TGT(g)))
       fi;
       h = (order >= PREPARE_TARGET -> TGT(g) : SRC(g));
       take(e, g, order);
       if
       :: EPOCH_RAISED_AT_SEIZE || (order != SEIZE_SOURCE && order != SEIZE_TARGET) -> admit(h, e)
       :: else
       fi;
       if
       :: order == PREPARE_SOURCE -> prepare_source(h, e, g)
       :: order == TRANSFER -> transfer(h, e, g)
       :: order == COMMIT_SOURCE -> commit_source(h, e, g)
       :: order == ABORT_SOURCE -> abort_source(h, e, g)
       :: order == GIVE_UP_SOURCE || order == GIVE_UP_TARGET -> give_up(h, e, g)
       :: order == SEIZE_SOURCE -> seize_source(h, e, g)
       :: order == PREPARE_TARGET -> prepare_target(h, e, g)
       :: order == COMMIT_TARGET -> commit_target(h, e, g)
       :: order == ABORT_TARGET -> abort_target(h, e, g)
       :: order == SEIZE_TARGET -> target_fact(h, g, r)
       fi;
       printf("* host %d works {order %d} of leader %d for migration %d: {answer %d}, it has {domain %d}\n", h, order, e, g, r, domain[h]);
       if
       :: dies -> printf("* ... and its agent dies in the middle of it\n"); agent_dies(h); dies = 0
       :: else -> tell(e, g, order, r)
       fi;
       h = 0; r = 0; order = 0
     }
  od
}
