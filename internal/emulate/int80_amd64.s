#include "textflag.h"

// func int80(trap, a1, a2, a3, a4, a5, a6 uintptr) uintptr
//
// int80 makes a system call through the i386 table. The arguments go in EBX, ECX, EDX, ESI, EDI and
// EBP. The kernel may clobber R8 to R11, and ABI0 does not require them to be kept.
TEXT ·int80(SB), NOSPLIT, $8-64
	MOVQ	BP, saved-8(SP)
	MOVQ	trap+0(FP), AX
	MOVQ	a1+8(FP), BX
	MOVQ	a2+16(FP), CX
	MOVQ	a3+24(FP), DX
	MOVQ	a4+32(FP), SI
	MOVQ	a5+40(FP), DI
	MOVQ	a6+48(FP), R12
	MOVQ	R12, BP
	INT	$0x80
	MOVQ	saved-8(SP), BP
	MOVQ	AX, ret+56(FP)
	RET
