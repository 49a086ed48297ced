/* Talks to the test bed by its control socket: see `tearfs --help`. */
#ifndef CONTROL_H
#define CONTROL_H

#include "guest.h"
#include <sys/socket.h>
#include <sys/un.h>

#define CUT_POWER "{\"op\":\"cut\"}\n"
#define TURN_HONEST "{\"op\":\"mode\",\"mode\":\"honest\"}\n"

static inline int connect_control(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int control = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(control, (struct sockaddr *)&address, sizeof(address)) != 0)
		setup_failed("connect %s", path);
	return control;
}

/* Sends a request, a line, and waits until it was answered: then it was done. */
static inline void ask_control(int control, const char *request)
{
	ssize_t length = strlen(request);
	char answer[256];

	if (write(control, request, length) != length)
		setup_failed("write to the control socket");
	if (read(control, answer, sizeof(answer)) <= 0)
		setup_failed("answer from the control socket");
}

#endif
