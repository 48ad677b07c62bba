/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that waits, beside one that has the same descriptor table (or, with "fork", a copy):
 *
 *	table none|fork|share|thread|hop
 *
 * With "hop", the other one goes on from process to process, faster than procfs can be searched.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *wait_forever(void *none)
{
	for (;;)
		pause();
	return none;
}

static void hop(pid_t main)
{
	while (!kill(main, 0))
		if (syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0))
			break;
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pid_t self = getpid();
	pthread_t thread;

	if (!strcmp(how, "thread")) {
		pthread_create(&thread, NULL, wait_forever, NULL);
	} else if (strcmp(how, "none")) {
		int flags = strcmp(how, "fork") ? CLONE_FILES : 0;

		if (!syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0)) {
			if (!strcmp(how, "hop"))
				hop(self);
			prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
			wait_forever(NULL);
		}
	}
	puts("ready");
	fflush(stdout);
	return getchar() == EOF ? 0 : 2;
}
