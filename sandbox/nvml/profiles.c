/* The GPUs of the instance types that the lab supports, as NVML describes them on those instances. */
#include <string.h>

#include "host.h"

#define MIB (1024ULL * 1024ULL)
#define WATT 1000U

/* Passive cards. Pages are retired up to Turing, rows are remapped from Ampere on. */
#define COMMON .pcie_width = 16, .ecc_default = 1
#define BEFORE_AMPERE                                                                                                  \
    [FAN] = NVML_ERROR_NOT_SUPPORTED, [MEMORY_LOCKED_CLOCKS] = NVML_ERROR_NOT_SUPPORTED,                               \
    [REMAPPED_ROWS] = NVML_ERROR_NOT_SUPPORTED
#define FROM_AMPERE [FAN] = NVML_ERROR_NOT_SUPPORTED, [RETIRED_PAGES] = NVML_ERROR_NOT_SUPPORTED

static const struct profile PROFILES[] = {
    {
        COMMON,
        .key = "T4",
        .name = "Tesla T4",
        .brand = NVML_BRAND_NVIDIA,
        .vbios = "90.04.96.00.02",
        .architecture = NVML_DEVICE_ARCH_TURING,
        .cuda_major = 7,
        .cuda_minor = 5,
        .pci_device = 0x1EB810DE,
        .pci_subsystem = 0x12A210DE,
        .pcie_generation = 3,
        .memory_total = 15360 * MIB,
        .memory_reserved = 449 * MIB,
        .power_min = 60 * WATT,
        .power_default = 70 * WATT,
        .power_max = 70 * WATT,
        .clocks = {{5001, 1590}, {405, 645}},
        .graphics_min = 300,
        .graphics_step = 15000,
        .application_memory = 5001,
        .application_graphics = 585,
        .thresholds = {96, 93, 0, 85},
        .features = {BEFORE_AMPERE},
        .readings = {[GPU_UTILIZATION] = 34, [MEMORY_UTILIZATION] = 12, [ENCODER] = 6, [TEMPERATURE] = 52,
                     [POWER] = 41 * WATT, [MEMORY_USED] = 3210 * MIB, [ENERGY] = 7412000, [PCIE_TX] = 48000,
                     [PCIE_RX] = 91000},
    },
    {
        COMMON,
        .key = "A10G",
        .name = "NVIDIA A10G",
        .brand = NVML_BRAND_NVIDIA,
        .vbios = "94.02.75.00.01",
        .architecture = NVML_DEVICE_ARCH_AMPERE,
        .cuda_major = 8,
        .cuda_minor = 6,
        .pci_device = 0x223710DE,
        .pci_subsystem = 0x152F10DE,
        .pcie_generation = 4,
        .memory_total = 23028 * MIB,
        .memory_reserved = 513 * MIB,
        .power_min = 100 * WATT,
        .power_default = 300 * WATT,
        .power_max = 300 * WATT,
        .clocks = {{6251, 1710}, {405, 420}},
        .graphics_min = 210,
        .graphics_step = 15000,
        .application_memory = 6251,
        .application_graphics = 1710,
        .thresholds = {98, 95, 0, 88},
        .features = {FROM_AMPERE},
        .readings = {[GPU_UTILIZATION] = 42, [MEMORY_UTILIZATION] = 18, [ENCODER] = 9, [TEMPERATURE] = 47,
                     [POWER] = 132 * WATT, [MEMORY_USED] = 6114 * MIB, [ENERGY] = 21938000, [PCIE_TX] = 62000,
                     [PCIE_RX] = 127000},
    },
    {
        COMMON,
        .key = "V100",
        .name = "Tesla V100-SXM2-16GB",
        .brand = NVML_BRAND_TESLA,
        .vbios = "88.00.4F.00.09",
        .architecture = NVML_DEVICE_ARCH_VOLTA,
        .cuda_major = 7,
        .cuda_minor = 0,
        .pci_device = 0x1DB110DE,
        .pci_subsystem = 0x121210DE,
        .pcie_generation = 3,
        .memory_total = 16384 * MIB,
        .memory_reserved = 230 * MIB,
        .power_min = 150 * WATT,
        .power_default = 300 * WATT,
        .power_max = 300 * WATT,
        .clocks = {{877, 1530}},
        .graphics_min = 135,
        .graphics_step = 7500,
        .application_memory = 877,
        .application_graphics = 1312,
        .thresholds = {90, 87, 85, 83},
        .features = {BEFORE_AMPERE},
        .readings = {[GPU_UTILIZATION] = 28, [MEMORY_UTILIZATION] = 9, [TEMPERATURE] = 44, [POWER] = 97 * WATT,
                     [MEMORY_USED] = 2480 * MIB, [ENERGY] = 15120000, [PCIE_TX] = 31000, [PCIE_RX] = 77000},
    },
};

const struct profile *find_profile(const char *key) {
    for (size_t i = 0; i < sizeof PROFILES / sizeof *PROFILES; i++)
        if (strcmp(PROFILES[i].key, key) == 0)
            return &PROFILES[i];
    return NULL;
}
