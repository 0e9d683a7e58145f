# SPDX-License-Identifier: Apache-2.0
#
# A guest whose disk and memory must stay one history. On every tick of the BIOS timer (18.2 a second) it reads the
# first sector of its disk and compares it with what its memory says was written last, adds one to its counter, writes
# that as the disk's new generation, and prints it as counter.S does. So whenever older memory runs again, or another
# copy ran meanwhile, the disk is ahead of the memory: it prints `DAMAGED` and ends.
#
# The sector holds one number: the boot (from 0 on) in the highest byte, the count in the rest. A boot takes the next
# one, so what is printed by a guest that was started again begins with its own highest byte.
#
# Its MEMORY_MIB MiB from 2 MiB on are filled with what is not zero, so that there is something to send.
#
# as --defsym MEMORY_MIB=24

        .code16
        .globl  _start
        .equ    ticks, 0x46c
        .equ    buffer, 0x8000
        .equ    first, 0x200000
        .equ    past_last, first + MEMORY_MIB * 0x100000
        .equ    disk, 0x80
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        inb     $0x92, %al              # address line 20, or every second MiB is the one below it
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        call    fill
        sti
        movb    $2, %ah
        call    transfer
        movl    buffer, %ebp            # an empty disk holds 0: the first boot is boot 0
        testl   %ebp, %ebp
        jz      1f
        andl    $0xff000000, %ebp
        addl    $0x01000000, %ebp
1:      movl    %ebp, buffer
        movb    $3, %ah
        call    transfer

sleep:
        hlt
        movl    ticks, %eax
        cmpl    last_tick, %eax
        je      sleep
        movl    %eax, last_tick
        movb    $2, %ah
        call    transfer
        cmpl    buffer, %ebp
        jne     damaged
        incl    %ebp
        movl    %ebp, buffer
        movb    $3, %ah
        call    transfer
        call    print_counter
        jmp     sleep

# Reads (AH = 2) or writes (AH = 3) the first sector, again until the disk has done it.
transfer:
        movw    %ax, %si
1:      movw    %si, %ax
        movb    $1, %al
        movw    $1, %cx                 # cylinder 0, sector 1
        movw    $disk, %dx              # head 0
        movw    $buffer, %bx
        int     $0x13
        jc      1b
        ret

# Writes to every page, with a data segment of 4 GiB: the processor keeps its limit when it leaves protected mode.
fill:
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
        movl    $first, %edi
2:      addr32 movl %edi, (%edi)
        addl    $4096, %edi
        cmpl    $past_last, %edi
        jb      2b
        popw    %ds
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
