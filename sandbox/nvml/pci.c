/* The GPUs of this host as the PCI bus shows them, with or without a driver: `ADDRESS VENDOR DEVICE`. */
#include <stdio.h>

#include "host.h"

int main(void) {
    struct host host;
    host_open(&host);
    for (unsigned int i = 0; i < host.count; i++) {
        unsigned int device = host.gpus[i].profile->pci_device;
        printf("0000:00:%02x.0 %04x %04x\n", host.gpus[i].pci_slot, device & 0xffffU, device >> 16U);
    }
    host_close(&host);
    return 0;
}
