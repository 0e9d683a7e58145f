/* SPDX-License-Identifier: Apache-2.0
   The Scheduler's leader: lockstep.ts is the story, settle.ts the one failure path, cold.ts the restart. */

#define MINE (!SESSION_IN_WRITES || session == e)
/* ledger.ts: each write is a transaction that checks the session; who has lost it is a leader no more. */
#define WRITES(to) if :: MINE -> write(to) :: else -> goto over fi
#define FENCED_STILL(fact, h) (fact != SF_OFF || fenced[h])

#define HOST_OF(k) ((k) >= PREPARE_TARGET -> TGT(g) : SRC(g))
#define OUTRUN(h) (LOWER_EPOCHS_REFUSED && highest[h] > e)

/* Sends an order. A leader that finds itself outrun (STALE_EPOCH) stays in settle's loop and does no more: it ends here. */
inline send(k) {
  if :: OUTRUN(HOST_OF(k)) -> goto over :: else fi;
  ORDERS(e, g) = ORDERS(e, g) | (1 << (k));
  asked_of[e - 1] = g; asked[LINE(e, ROLE(k))] = (k) + 1; answer[LINE(e, ROLE(k))] = 0
}
/* Waits for its answer; 0: there is none, and whether the order was or will be worked is not known. */
inline wait_for(k, r) {
  if
  :: answer[LINE(e, ROLE(k))] != 0 -> r = (answer[LINE(e, ROLE(k))] == TIMED_OUT -> BROKEN : answer[LINE(e, ROLE(k))])
  :: OUTRUN(HOST_OF(k)) -> goto over
  :: answer[LINE(e, ROLE(k))] == 0 && !up[HOST_OF(k)] -> r = BROKEN
  :: answer[LINE(e, ROLE(k))] == 0 && interrupted[e - 1] && ((k) == PREPARE_SOURCE || (k) == PREPARE_TARGET || (k) == TRANSFER) -> r = BROKEN
  fi;
  asked[LINE(e, ROLE(k))] = 0; answer[LINE(e, ROLE(k))] = 0
}
inline call(k, r) { send(k); wait_for(k, r) }

/* The Fencer's ladder ended: the host is off, and the key says so until the host joins again. */
inline fence(h) {
  printf("* host %d is fenced\n", h);
  if :: up[h] -> host_stops(h) :: else fi;
  fenced[h] = 1
}
/* The transaction of cold.ts and of RecoverNode: proof (INV-3), a fresh epoch, the VM starts on a host that counts as alive. */
inline place_cold() {
  if :: FRESH_EPOCH_WHEN_COLD -> last_epoch++ :: else fi;
  epoch = last_epoch;
  if :: node != C -> assert(epoch > floor[node]) :: else fi;    /* INV-2: it can start where it shall */
  printf("* leader %d: the VM shall start anew on host %d with placement epoch %d\n", e, node, epoch);
  if
  :: node == C && !stopped -> domain[C] = RUNS; copy[C] = epoch; stale[A] = 1; stale[B] = 1; INV_1
  :: else
  fi
}
/* INV-3, looked at from outside: a host that is up and might run it holds a floor at or above what it might run. */
#define GAVE_UP(h, e) (!up[h] || floor[h] >= (e))

inline decide() { c_code { PLeader->act = decide(PLeader->fs, PLeader->ft, PLeader->heard, PLeader->cancel); };
  printf("* leader %d knows: source {source %d}, target {target %d}, end heard %d: {action %d}\n", e, fs, ft, heard, act) }
inline write(to) {
  next_state = to;
  printf("* leader %d writes {state %d}\n", e, next_state);
  c_code { now.journal = follow(now.journal, now.next_state); };
  assert(journal == next_state);                  /* INV-5: what TRANSITIONS does not list is never written */
  next_state = 0
}

proctype Leader(byte e) {
  byte r, fs, ft, act, g, quiet;
  bit heard, heard_before, cancel;

  if
  :: e == 1 -> goto idle
  :: e > 1 -> atomic { session == e - 1 -> session = e; at_rest = 0; printf("* leader %d takes the lock\n", e) }
  fi;

round: /* one round of settle, from the record as it stands */
  atomic {
    r = 0; fs = 0; ft = 0; act = 0;
    if :: !MINE -> goto over :: else fi;
    if :: !OPEN -> goto idle :: else fi;
    g = current; in_hand[e - 1] = g;
    if
    :: journal == MS_COMMITTING -> goto release
    :: journal == MS_ABORTING -> goto undo
    :: else
    fi;
    /* seizeBoth: both are asked at once */
    if :: fenced[SRC(g)] -> fs = SF_OFF :: else -> send(SEIZE_SOURCE) fi;
    if :: fenced[TGT(g)] -> ft = TF_OFF :: else -> send(SEIZE_TARGET) fi;
    if :: fs == 0 -> wait_for(SEIZE_SOURCE, fs); if :: fs == BROKEN -> fs = SF_UNREACHABLE :: else fi :: else fi;
    if :: ft == 0 -> wait_for(SEIZE_TARGET, ft); if :: ft == BROKEN -> ft = TF_UNREACHABLE :: else fi :: else fi;
    cancel = cancelled || interrupted[e - 1]; decide(); cancel = 0;
    if
    :: act == BACK -> goto back
    :: act == FORWARD || act == FORWARD_SOURCE_LATER -> goto place
    :: act == FINISH -> interrupted[e - 1] = 0; goto commit
    :: act == COLD -> goto cold
    :: act == WATCH -> call(TRANSFER, r); if :: r == OK -> heard = 1; goto commit :: else -> goto round fi
    :: act == WAIT || act == FENCE ->
      if :: !MINE -> goto over :: else -> if :: journal != MS_UNCERTAIN -> write(MS_UNCERTAIN) :: else fi fi;
      if
      :: fs == SF_LVDOWN -> HYPERVISOR_ANSWERS(SRC(g))
      :: fs == SF_UNREACHABLE -> quiet = SRC(g); goto silent
      :: ft == TF_UNREACHABLE -> quiet = TGT(g); goto silent
      fi;
      goto round
    :: act == STOP_UNENTITLED || act == ALERT -> assert(0)    /* INV-1, or facts that cannot be together */
    fi
  };

silent: /* Silence is no fact: until the host answers, or is proven to be off. */
  atomic {
    if
    :: up[quiet]
    :: fence(quiet)
    fi;
    quiet = 0; goto round
  };

open: /* runLockstep */
  atomic {
    if :: !MINE -> goto over :: else fi;
    journal = MS_PENDING; write(MS_PREPARING);
    current++; g = current; in_hand[e - 1] = g; cancelled = 0; interrupted[e - 1] = 0; commit_sent[e - 1] = 0; heard = 0;
    source[g] = node; left_epoch[g] = epoch; last_epoch++; epoch_of[g] = last_epoch;
    call(PREPARE_SOURCE, r); if :: r != OK -> goto round :: else fi;
    if :: interrupted[e - 1] -> goto round :: else fi;
    call(PREPARE_TARGET, r); if :: r != OK -> goto round :: else fi;
    WRITES(MS_PREPARED);
    if :: interrupted[e - 1] -> goto round :: else fi;
    WRITES(MS_TRANSFERRING);
    call(TRANSFER, r); if :: r != OK -> goto round :: else -> heard = 1 fi
  };
commit:
  atomic {
    if :: interrupted[e - 1] -> goto round :: else fi;
    commit_sent[e - 1] = 1;
    call(COMMIT_TARGET, r); if :: r != OK -> goto round :: else fi;
    assert(!interrupted[e - 1])     /* who was told that it is cancelled does not find it moved */
  };
place:
  atomic { WRITES(MS_COMMITTING); node = TGT(g); epoch = epoch_of[g] };
release: /* commitSource */
  atomic {
    if :: !MINE -> goto over :: else fi;
    if
    :: fenced[SRC(g)] -> fs = SF_OFF
    :: else -> call(COMMIT_SOURCE, r); if :: r == BROKEN -> quiet = SRC(g); goto silent :: r != OK && r != BROKEN -> goto round :: else fi
    fi;
    if
    :: !MINE -> goto over
    :: MINE && FENCED_STILL(fs, SRC(g)) -> write(MS_SUCCEEDED); goto idle
    :: else -> goto round
    fi
  };

back: /* the target first, then the journal, then the source */
  atomic {
    if
    :: TARGET_FIRST && ft != TF_OFF ->
      call(ABORT_TARGET, r);
      if :: r == BROKEN -> quiet = TGT(g); goto silent :: else fi;
      /* hasGivenUp */
      if
      :: !READ_BACK || r == TF_NEVER
      :: READ_BACK && r == TF_MAYBE -> ft = TF_MAYBE; heard_before = heard; heard = 0; decide(); heard = heard_before; heard_before = 0; if :: act != BACK -> goto round :: else fi
      :: else -> goto round
      fi
    :: else
    fi;
    if
    :: !MINE -> goto over
    :: MINE && (ft != TF_OFF || fenced[TGT(g)]) -> write(MS_ABORTING)
    :: else -> goto round
    fi
  };
undo: /* releaseSource */
  atomic {
    ft = TF_NEVER;
    if :: !MINE -> goto over :: else fi;
    if :: fenced[SRC(g)] -> fs = SF_OFF; goto cold :: else fi;
    call(ABORT_SOURCE, r);
    if
    :: r == SF_RUNNING -> WRITES(MS_ABORTED); goto idle
    :: r == SF_LOST -> fs = SF_LOST; goto cold
    :: r == BROKEN -> quiet = SRC(g); goto silent
    :: else -> goto round
    fi
  };
cold:
  atomic {
    if
    :: fenced[TGT(g)] -> ft = TF_OFF
    :: !fenced[TGT(g)] && ft != TF_OFF -> call(GIVE_UP_TARGET, r); if :: r == BROKEN -> quiet = TGT(g); goto silent :: r != OK && r != BROKEN -> goto round :: else fi
    :: else -> goto round
    fi;
    if
    :: fenced[SRC(g)] -> fs = SF_OFF
    :: !fenced[SRC(g)] && fs != SF_OFF -> call(GIVE_UP_SOURCE, r); if :: r == BROKEN -> quiet = SRC(g); goto silent :: r != OK && r != BROKEN -> goto round :: else fi
    :: else -> goto round
    fi;
    if
    :: !MINE -> goto over
    :: MINE && PROOF_IN_WRITES && !(FENCED_STILL(fs, SRC(g)) && (ft != TF_OFF || fenced[TGT(g)])) -> goto round
    :: else ->
      assert(GAVE_UP(SRC(g), left_epoch[g]) && GAVE_UP(TGT(g), epoch_of[g]));    /* INV-3 */
      write(MS_FAILED);
      if
      :: fs != SF_OFF -> node = SRC(g)
      :: ft != TF_OFF -> node = TGT(g)
      :: node = C
      fi;
      place_cold()
    fi
  };

idle: /* no migration is open: begin one, or recover a node that died */
  atomic {
    r = 0; fs = 0; ft = 0; act = 0; heard = 0; in_hand[e - 1] = 0; commit_sent[e - 1] = 0; interrupted[e - 1] = 0;
    if :: MINE -> at_rest = e :: else -> goto over fi
  };
end_idle:
  if
  :: atomic { MINE && current < MIGRATIONS && !stopped && node != C && domain[node] == RUNS && up[1 - node] -> at_rest = 0; goto open }
  :: atomic { MINE && node != C && fenced[node] -> at_rest = 0 }; goto recover
  :: atomic { MINE && node != C && !fenced[node] && (!up[node] || timeouts < TIMEOUTS) ->
       if :: up[node] -> timeouts++ :: else fi; at_rest = 0; quiet = node; fence(quiet); quiet = 0 }; goto recover
  fi;
recover: /* RecoverNode: the may-run set is the node alone */
  atomic {
    if
    :: !MINE -> goto over
    :: MINE && PROOF_IN_WRITES && !fenced[node] -> goto idle
    :: else ->
      assert(GAVE_UP(node, epoch));               /* INV-3 */
      if
      :: !fenced[1 - node] -> node = 1 - node
      :: node = C
      fi;
      place_cold(); goto idle
    fi
  };
over:
  atomic { asked[LINE(e, AT_SOURCE)] = 0; asked[LINE(e, AT_TARGET)] = 0; answer[LINE(e, AT_SOURCE)] = 0; answer[LINE(e, AT_TARGET)] = 0;
    asked_of[e - 1] = 0; in_hand[e - 1] = 0; commit_sent[e - 1] = 0; interrupted[e - 1] = 0; r = 0; fs = 0; ft = 0; act = 0; heard = 0; g = 0 }
}
