/*
 * libnvidia-cfg.so.1 as far as nvidia-persistenced needs it: the GPUs' places on the bus, and a GPU that is held open,
 * as persistence mode does.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define API __attribute__((visibility("default")))
#define TRUE 1
#define FALSE 0

struct pci_device {
    int domain, bus, slot, function;
};

API int nvCfgGetPciDevices(int *count, struct pci_device **devices);
API int nvCfgOpenPciDevice(int domain, int bus, int slot, int function, void **handle);
API int nvCfgCloseDevice(void *handle);

/* A driver is loaded, and it is the one that is installed. */
static bool works(const struct host *host) {
    char version[VERSION_SIZE];
    return installed_driver(version) && !module_unloaded() && strcmp(host->module, version) == 0;
}

int nvCfgGetPciDevices(int *count, struct pci_device **devices) {
    struct host host;
    int answer = FALSE;
    host_open(&host);
    struct pci_device *found = works(&host) ? calloc(MAX_GPUS, sizeof *found) : NULL;
    if (found != NULL) {
        for (unsigned int i = 0; i < host.count; i++)
            found[i].slot = (int)host.gpus[i].pci_slot;
        *count = (int)host.count;
        *devices = found;
        answer = TRUE;
    }
    host_close(&host);
    return answer;
}

static int set_persistence(int slot, unsigned int mode) {
    struct host host;
    int answer = FALSE;
    host_open(&host);
    for (unsigned int i = 0; works(&host) && i < host.count; i++)
        if ((int)host.gpus[i].pci_slot == slot) {
            host.gpus[i].settings[PERSISTENCE_MODE] = mode;
            answer = host_save(&host) ? TRUE : FALSE;
        }
    host_close(&host);
    return answer;
}

int nvCfgOpenPciDevice(int domain, int bus, int slot, int function, void **handle) {
    int *held = malloc(sizeof *held);
    if (held == NULL || domain != 0 || bus != 0 || function != 0 || !set_persistence(slot, 1)) {
        free(held);
        return FALSE;
    }
    *held = slot;
    *handle = held;
    return TRUE;
}

int nvCfgCloseDevice(void *handle) {
    int answer = set_persistence(*(int *)handle, 0);
    free(handle);
    return answer;
}
