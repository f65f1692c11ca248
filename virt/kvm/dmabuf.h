/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_DMABUF_H__
#define __KVM_DMABUF_H__

#include <linux/kvm_types.h>

struct kvm_userspace_memory_region2;

#ifdef CONFIG_KVM_DMABUF
int kvm_dmabuf_supported(struct kvm *kvm);
int kvm_dmabuf_prepare_memory_region(struct kvm *kvm, struct kvm_memory_slot *slot,
				     const struct kvm_userspace_memory_region2 *mem);
void kvm_dmabuf_unbind(struct kvm_memory_slot *slot);
void kvm_dmabuf_unbind_all(struct kvm *kvm);
#else
static inline int kvm_dmabuf_supported(struct kvm *kvm)
{
	return 0;
}

static inline int
kvm_dmabuf_prepare_memory_region(struct kvm *kvm, struct kvm_memory_slot *slot,
				 const struct kvm_userspace_memory_region2 *mem)
{
	WARN_ON_ONCE(1);
	return -EIO;
}

static inline void kvm_dmabuf_unbind(struct kvm_memory_slot *slot)
{
	WARN_ON_ONCE(1);
}

static inline void kvm_dmabuf_unbind_all(struct kvm *kvm)
{
}
#endif /* CONFIG_KVM_DMABUF */

#endif /* __KVM_DMABUF_H__ */
