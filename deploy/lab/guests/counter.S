# SPDX-License-Identifier: Apache-2.0
#
# A guest that proves where its memory went: on every tick of the BIOS timer (18.2 a second) it adds one to a counter
# in memory and prints it on COM1 as eight hexadecimal digits and a line feed. In between it sleeps.
# The counter is kept in a register, too: if the two ever differ, it prints `DAMAGED` and ends.

        .code16
        .globl  _start
        .equ    counter, 0x8000
        .equ    ticks, 0x46c
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        xorl    %ebp, %ebp
        movl    %ebp, counter
        movl    ticks, %edi
        sti

# Other interrupts wake it, too: only a tick counts.
sleep:
        hlt
        movl    ticks, %eax
        cmpl    %edi, %eax
        je      sleep
        movl    %eax, %edi
        cmpl    %ebp, counter
        jne     damaged
        incl    %ebp
        movl    %ebp, counter
        call    print_counter
        jmp     sleep

        .include "serial.inc"

        .org    510
        .word   0xaa55
