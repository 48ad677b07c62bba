/* SPDX-License-Identifier: Apache-2.0 */
/* Forks children that stay alive, until there are COUNT or fork fails: forks COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0;

	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (!child) {
			close(STDOUT_FILENO);
			for (;;)
				pause();
		}
		if (child < 0) {
			printf("failed: %m\n");
			fflush(stdout);
			break;
		}
	}
	puts("done");
	fflush(stdout);
	return getchar() == EOF ? 0 : 2;
}
