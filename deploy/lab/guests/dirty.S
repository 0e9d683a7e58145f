# SPDX-License-Identifier: Apache-2.0
#
# A guest that dirties memory at a known rate: on every tick of the BIOS timer (18.2 a second) it writes to the next
# PAGES_PER_TICK pages of its DIRTY_MIB MiB, round and round, and prints how many ticks it has seen, as counter.S does.
# Before it writes a page again it looks whether the page holds what it wrote there in the round before: if not, it
# prints `DAMAGED` and ends. So a page that was lost or old in a migration is found one round later.
#
# as --defsym DIRTY_MIB=64 --defsym PAGES_PER_TICK=256

        .code16
        .globl  _start
        .equ    ticks, 0x46c
        .equ    first, 0x200000
        .equ    past_last, first + DIRTY_MIB * 0x100000
        .equ    page, 4096
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        inb     $0x92, %al              # address line 20, or every second MiB is the one below it
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        xorl    %ebp, %ebp              # ticks seen
        xorl    %esi, %esi              # rounds done
        movl    $first, %edi            # next page
        sti

sleep:
        hlt
        movl    ticks, %eax
        cmpl    last_tick, %eax
        je      sleep
        movl    %eax, last_tick
        incl    %ebp
        call    dirty
        call    print_counter
        jmp     sleep

# Writes a tick's pages. The processor keeps the segment's new limit when it leaves protected mode; the BIOS may put
# the old one back at any interrupt, so it is set anew each time, with interrupts off.
dirty:
        cli
        pushw   %ds
        lgdtl   gdt_pointer
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        movw    $8, %bx
        movw    %bx, %ds
        andb    $0xfe, %al
        movl    %eax, %cr0
        xorw    %bx, %bx
        movw    %bx, %ds
        movl    $PAGES_PER_TICK, %ecx
1:      movl    %esi, %eax
        xorl    %edi, %eax              # what this round's content is, and the round before left its predecessor's
        testl   %esi, %esi
        jz      2f
        leal    -1(%esi), %ebx
        xorl    %edi, %ebx
        addr32 cmpl %ebx, (%edi)
        jne     damaged
2:      addr32 movl %eax, (%edi)
        addl    $page, %edi
        cmpl    $past_last, %edi
        jb      3f
        movl    $first, %edi
        incl    %esi
3:      decl    %ecx
        jnz     1b
        popw    %ds
        sti
        ret

        .include "serial.inc"

last_tick:
        .long   0
        .balign 8
gdt:
        .quad   0
        .quad   0x00cf92000000ffff      # data, from 0 to 4 GiB
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt

        .org    510
        .word   0xaa55
