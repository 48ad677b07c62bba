/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A debugger that was allowed to attach to a process uses this in every way. Then it
 * and its tracee's child try to attach to another container's process, to which the
 * permission must not apply.
 *
 *	owndoor PID	the other container's process
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET 0x7365637265746973

static volatile long secret = SECRET;
static volatile long released;

static int failed(const char *what)
{
	printf("failed: %s: %m\n", what);
	fflush(stdout);
	return 1;
}

static void reach(const char *who, const char *name)
{
	pid_t pid = atoi(name);

	if (ptrace(PTRACE_ATTACH, pid, 0, 0)) {
		printf("%s: %s\n", who, strerrorname_np(errno));
	} else {
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
		printf("%s: attached\n", who);
	}
	fflush(stdout);
}

/* Waits for a signal, and continues only if its memory was changed. */
static int tracee(sigset_t *wake, const char *other)
{
	int number;
	pid_t child;

	if (sigwait(wake, &number) || !released)
		return failed("release");
	puts("tracee: released");
	fflush(stdout);
	child = fork();
	if (!child) {
		execl("/proc/self/exe", "owndoor", "grandchild", other, NULL);
		return failed("exec");
	}
	waitpid(child, NULL, 0);
	return 0;
}

/* Reads a tracee's memory and sets its registers to their current values. */
static int look(pid_t pid, const char *who)
{
	char registers[1024];
	struct iovec all = {registers, sizeof(registers)};

	if (ptrace(PTRACE_PEEKDATA, pid, &secret, 0) != SECRET)
		return failed("peek");
	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all) ||
	    ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all))
		return failed("registers");
	printf("debugger: looked at the %s\n", who);
	fflush(stdout);
	return 0;
}

static int debugger(pid_t target, const char *other)
{
	int status, event;
	pid_t pid;

	if (ptrace(PTRACE_ATTACH, target, 0, 0) || waitpid(target, &status, __WALL) != target)
		return failed("attach");
	if (look(target, "tracee"))
		return 1;
	if (ptrace(PTRACE_SETOPTIONS, target, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC) ||
	    ptrace(PTRACE_POKEDATA, target, &released, 1) ||
	    ptrace(PTRACE_CONT, target, 0, SIGUSR1))
		return failed("poke");
	/* The kernel attaches it to the tracee's children without a permission check. */
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status))
			continue;
		event = status >> 16;
		if (event == PTRACE_EVENT_EXEC && look(pid, "grandchild"))
			return 1;
		if (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP)
			status = 0;
		ptrace(PTRACE_CONT, pid, 0, status ? WSTOPSIG(status) : 0);
	}
	reach("debugger", other);
	return 0;
}

int main(int argc, char **argv)
{
	sigset_t wake;
	pid_t target;

	if (argc == 3) {
		reach("grandchild", argv[2]);
		return 0;
	}
	if (argc != 2)
		return 2;
	sigemptyset(&wake);
	sigaddset(&wake, SIGUSR1);
	sigprocmask(SIG_BLOCK, &wake, NULL);
	target = fork();
	if (!target)
		return tracee(&wake, argv[1]);
	if (!fork())
		return debugger(target, argv[1]);
	while (wait(NULL) > 0)
		;
	return 0;
}
