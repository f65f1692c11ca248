// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_VDEVICE_TSM_OP, IOMMU_VDEVICE_TSM_REQ, and IOMMU_VIOMMU_TYPE_DEFAULT
 *
 * The device is a mock, as is everything that it is bound to: what is tested is
 * what iommufd does with whom. A test asks the mock who has bound it, and tells it
 * what to answer to a request.
 */
#include <asm/unistd.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define __EXPORTED_HEADERS__

#include "iommufd_utils.h"
#include "iommufd_tsm.h"

#define VIRT_ID		0x10008
#define MAX_LEN		(1024 * 1024)
#define CODE		0x123456789abcULL

static __attribute__((constructor)) void setup_sizes(void)
{
	setup_page_buffer();
}

FIXTURE(tsm)
{
	int fd;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	__u32 idev_id;
	__u32 viommu_id;
	__u32 vdev_id;
};

FIXTURE_SETUP(tsm)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain_flags(self->ioas_id, MOCK_FLAGS_DEVICE_TDI,
				   &self->stdev_id, &self->hwpt_id,
				   &self->idev_id);
	test_cmd_viommu_alloc(self->idev_id, self->hwpt_id,
			      IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0,
			      &self->viommu_id);
	test_cmd_vdevice_alloc(self->viommu_id, self->idev_id, VIRT_ID,
			       &self->vdev_id);
}

/* Whatever is bound when a test ends is bound no more when its objects are gone */
FIXTURE_TEARDOWN(tsm)
{
	struct tdi_state state;
	int fd;

	teardown_iommufd(self->fd, _metadata);

	fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, fd);
	EXPECT_EQ(0, _test_cmd_tdi_state(fd, 0, &state));
	EXPECT_EQ(0, state.nr_bound);
	close(fd);
}

#define do_bind()	_test_cmd_tsm_op(self->fd, self->vdev_id, IOMMU_VDEVICE_TSM_BIND)
#define do_unbind()	_test_cmd_tsm_op(self->fd, self->vdev_id, IOMMU_VDEVICE_TSM_UNBIND)

#define expect_bound(_id)							\
({										\
	struct tdi_state _state;						\
										\
	EXPECT_EQ(0, _test_cmd_tdi_state(self->fd, self->stdev_id, &_state));	\
	EXPECT_EQ(1, _state.bound);						\
	EXPECT_EQ((_id), _state.tdi_id);					\
})

#define expect_unbound()							\
({										\
	struct tdi_state _state;						\
										\
	EXPECT_EQ(0, _test_cmd_tdi_state(self->fd, self->stdev_id, &_state));	\
	EXPECT_EQ(0, _state.bound);						\
	EXPECT_EQ(0, _state.nr_bound);						\
})

/* A request that is right */
static struct iommu_vdevice_tsm_req good_req(__u32 vdev_id,
					     struct iommu_test_tdi_req *req,
					     void *resp, __u32 resp_len)
{
	return (struct iommu_vdevice_tsm_req) {
		.size = sizeof(struct iommu_vdevice_tsm_req),
		.vdevice_id = vdev_id,
		.op = IOMMU_VDEVICE_TSM_INFO,
		.tvm_arch = IOMMU_TVM_ARCH_SIM,
		.req_len = sizeof(*req),
		.resp_len = resp_len,
		.req_uptr = (uintptr_t)req,
		.resp_uptr = (uintptr_t)resp,
		.tsm_code = -1ULL,
	};
}

static int send_req(int fd, struct iommu_vdevice_tsm_req *cmd)
{
	return ioctl(fd, IOMMU_VDEVICE_TSM_REQ, cmd);
}

TEST_F(tsm, bind)
{
	expect_unbound();
	ASSERT_EQ(0, do_bind());
	expect_bound(VIRT_ID);
	ASSERT_EQ(0, do_unbind());
	expect_unbound();
	ASSERT_EQ(0, do_bind());
	expect_bound(VIRT_ID);
}

TEST_F(tsm, bind_twice)
{
	ASSERT_EQ(0, do_bind());
	EXPECT_ERRNO(EBUSY, do_bind());
	expect_bound(VIRT_ID);
}

TEST_F(tsm, unbind_twice)
{
	EXPECT_EQ(0, do_unbind());
	ASSERT_EQ(0, do_bind());
	EXPECT_EQ(0, do_unbind());
	EXPECT_EQ(0, do_unbind());
	expect_unbound();
}

/* It keeps its page table */
TEST_F(tsm, replace)
{
	__u32 ioas_id;

	test_ioctl_ioas_alloc(&ioas_id);
	ASSERT_EQ(0, do_bind());
	test_err_mock_domain_replace(EBUSY, self->stdev_id, ioas_id);
	expect_bound(VIRT_ID);
	/* Which can be asked for */
	test_cmd_mock_domain_replace(self->stdev_id, self->ioas_id);

	ASSERT_EQ(0, do_unbind());
	test_cmd_mock_domain_replace(self->stdev_id, ioas_id);
	ASSERT_EQ(0, do_bind());
	test_err_mock_domain_replace(EBUSY, self->stdev_id, self->ioas_id);
	ASSERT_EQ(0, do_unbind());
	test_cmd_mock_domain_replace(self->stdev_id, self->ioas_id);
}

TEST_F(tsm, op_errors)
{
	struct iommu_vdevice_tsm_op cmd = {
		.size = sizeof(cmd),
		.vdevice_id = self->vdev_id,
	};

	cmd.flags = 1;
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	cmd.flags = 0;

	cmd.op = IOMMU_VDEVICE_TSM_UNBIND + 1;
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	cmd.op = IOMMU_VDEVICE_TSM_BIND;

	cmd.size--;
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	cmd.size++;

	/* No such object, and none of that type */
	cmd.vdevice_id = 0;
	EXPECT_ERRNO(ENOENT, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	cmd.vdevice_id = self->idev_id;
	EXPECT_ERRNO(ENOENT, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	cmd.vdevice_id = self->viommu_id;
	EXPECT_ERRNO(ENOENT, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	expect_unbound();

	cmd.vdevice_id = self->vdev_id;
	EXPECT_EQ(0, ioctl(self->fd, IOMMU_VDEVICE_TSM_OP, &cmd));
	expect_bound(VIRT_ID);
}

/* The TSM has 32 bits for it */
TEST_F(tsm, virt_id)
{
	test_ioctl_destroy(self->vdev_id);
	test_cmd_vdevice_alloc(self->viommu_id, self->idev_id, 1ULL << 32,
			       &self->vdev_id);
	EXPECT_ERRNO(EINVAL, do_bind());
	expect_unbound();

	test_ioctl_destroy(self->vdev_id);
	test_cmd_vdevice_alloc(self->viommu_id, self->idev_id, 0xffffffff,
			       &self->vdev_id);
	EXPECT_EQ(0, do_bind());
	expect_bound(0xffffffff);
}

TEST_F(tsm, vdevice_destroy_unbinds)
{
	ASSERT_EQ(0, do_bind());
	test_ioctl_destroy(self->vdev_id);
	expect_unbound();
	EXPECT_ERRNO(ENOENT, do_bind());
	EXPECT_ERRNO(ENOENT, do_unbind());
	expect_unbound();

	test_cmd_vdevice_alloc(self->viommu_id, self->idev_id, VIRT_ID + 1,
			       &self->vdev_id);
	expect_unbound();
	ASSERT_EQ(0, do_bind());
	expect_bound(VIRT_ID + 1);
}

/* A vDEVICE holds its vIOMMU, bound or not */
TEST_F(tsm, viommu_destroy)
{
	ASSERT_EQ(0, do_bind());
	EXPECT_ERRNO(EBUSY, _test_ioctl_destroy(self->fd, self->viommu_id));
	expect_bound(VIRT_ID);
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->viommu_id);
	expect_unbound();
}

/* The forced destruction of a vDEVICE, whose ID is a tombstone then */
TEST_F(tsm, device_goes_first)
{
	struct tdi_state state;

	ASSERT_EQ(0, do_bind());
	test_ioctl_destroy(self->stdev_id);
	EXPECT_EQ(0, _test_cmd_tdi_state(self->fd, 0, &state));
	EXPECT_EQ(0, state.nr_bound);
	EXPECT_ERRNO(ENOENT, do_bind());
	EXPECT_ERRNO(ENOENT, _test_ioctl_destroy(self->fd, self->vdev_id));
}

TEST_F(tsm, fd_goes_first)
{
	struct tdi_state state;

	ASSERT_EQ(0, do_bind());
	ASSERT_EQ(0, close(self->fd));

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	EXPECT_EQ(0, _test_cmd_tdi_state(self->fd, 0, &state));
	EXPECT_EQ(0, state.nr_bound);
}

TEST_F(tsm, two_devices)
{
	__u32 stdev_id, hwpt_id, idev_id, vdev_id;
	struct tdi_state state;

	test_cmd_mock_domain_flags(self->ioas_id, MOCK_FLAGS_DEVICE_TDI,
				   &stdev_id, &hwpt_id, &idev_id);
	test_cmd_vdevice_alloc(self->viommu_id, idev_id, VIRT_ID + 1, &vdev_id);

	ASSERT_EQ(0, do_bind());
	ASSERT_EQ(0, _test_cmd_tsm_op(self->fd, vdev_id,
				      IOMMU_VDEVICE_TSM_BIND));
	expect_bound(VIRT_ID);
	ASSERT_EQ(0, _test_cmd_tdi_state(self->fd, stdev_id, &state));
	EXPECT_EQ(1, state.bound);
	EXPECT_EQ(VIRT_ID + 1, state.tdi_id);
	EXPECT_EQ(2, state.nr_bound);

	test_ioctl_destroy(self->vdev_id);
	ASSERT_EQ(0, _test_cmd_tdi_state(self->fd, stdev_id, &state));
	EXPECT_EQ(1, state.bound);
	EXPECT_EQ(1, state.nr_bound);
	test_ioctl_destroy(vdev_id);
	expect_unbound();
}

/* A page table that nobody asked for goes when its last user does, a vIOMMU here */
TEST_F(tsm, auto_domain)
{
	test_ioctl_destroy(self->vdev_id);
	test_ioctl_destroy(self->stdev_id);
	EXPECT_ERRNO(EBUSY, _test_ioctl_destroy(self->fd, self->ioas_id));
	test_ioctl_destroy(self->viommu_id);
	EXPECT_ERRNO(ENOENT, _test_ioctl_destroy(self->fd, self->hwpt_id));
	test_ioctl_destroy(self->ioas_id);
}

/* Not every device can be bound, and not behind every vIOMMU */
TEST_F(tsm, viommu_types)
{
	__u32 stdev_id, idev_id, viommu_id, vdev_id, nest_id, none;
	char data[8] = {};

	test_err_viommu_alloc(EINVAL, self->idev_id, self->hwpt_id,
			      IOMMU_VIOMMU_TYPE_DEFAULT, data, sizeof(data),
			      &none);
	test_err_viommu_alloc(ENOENT, self->idev_id, 0,
			      IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0, &none);
	test_err_viommu_alloc(ENOENT, 0, self->hwpt_id,
			      IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0, &none);
	EXPECT_ERRNO(EOPNOTSUPP,
		     _test_cmd_viommu_alloc(self->fd, self->idev_id,
					    self->hwpt_id, 1,
					    IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0,
					    &none));

	/* An ordinary device */
	test_cmd_mock_domain_flags(self->ioas_id, 0, &stdev_id, NULL, &idev_id);
	test_err_viommu_alloc(EOPNOTSUPP, idev_id, self->hwpt_id,
			      IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0, &none);
	test_cmd_vdevice_alloc(self->viommu_id, idev_id, VIRT_ID + 1, &vdev_id);
	EXPECT_ERRNO(EOPNOTSUPP, _test_cmd_tsm_op(self->fd, vdev_id,
						  IOMMU_VDEVICE_TSM_BIND));
	EXPECT_ERRNO(EOPNOTSUPP, _test_cmd_tsm_op(self->fd, vdev_id,
						  IOMMU_VDEVICE_TSM_UNBIND));
	test_ioctl_destroy(vdev_id);

	/* A device whose TSM takes no vIOMMU */
	test_cmd_mock_domain_flags(self->ioas_id,
				   MOCK_FLAGS_DEVICE_TDI |
					   MOCK_FLAGS_DEVICE_TDI_NO_VIOMMU,
				   &stdev_id, NULL, &idev_id);
	test_err_viommu_alloc(EOPNOTSUPP, idev_id, self->hwpt_id,
			      IOMMU_VIOMMU_TYPE_DEFAULT, NULL, 0, &none);
	test_cmd_vdevice_alloc(self->viommu_id, idev_id, VIRT_ID + 1, &vdev_id);
	EXPECT_ERRNO(EOPNOTSUPP, _test_cmd_tsm_op(self->fd, vdev_id,
						  IOMMU_VDEVICE_TSM_BIND));
	test_ioctl_destroy(vdev_id);

	/* A vIOMMU that the TSM of the device does not take */
	test_cmd_hwpt_alloc(self->idev_id, self->ioas_id,
			    IOMMU_HWPT_ALLOC_NEST_PARENT, &nest_id);
	test_cmd_viommu_alloc(self->idev_id, nest_id,
			      IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0, &viommu_id);
	test_ioctl_destroy(self->vdev_id);
	test_cmd_vdevice_alloc(viommu_id, self->idev_id, VIRT_ID,
			       &self->vdev_id);
	EXPECT_ERRNO(EOPNOTSUPP, do_bind());
	expect_unbound();
}

/* Nothing of an IOMMU is behind it */
TEST_F(tsm, viommu_default_has_no_iommu)
{
	struct iommu_hwpt_selftest data = {
		.iotlb = IOMMU_TEST_IOTLB_DEFAULT,
	};
	struct iommu_viommu_invalidate_selftest inv = {};
	__u32 num_inv = 1;
	__u32 id, fd;

	EXPECT_ERRNO(EOPNOTSUPP,
		     _test_cmd_veventq_alloc(self->fd, self->viommu_id,
					     IOMMU_VEVENTQ_TYPE_SELFTEST, 2,
					     &id, &fd));
	EXPECT_ERRNO(EOPNOTSUPP,
		     _test_cmd_hw_queue_alloc(self->fd, self->viommu_id,
					      IOMMU_HW_QUEUE_TYPE_SELFTEST, 0,
					      MOCK_APERTURE_START, PAGE_SIZE,
					      &id));
	test_err_hwpt_alloc_nested(EOPNOTSUPP, self->idev_id, self->viommu_id,
				   0, &id, IOMMU_HWPT_DATA_SELFTEST, &data,
				   sizeof(data));
	test_err_viommu_invalidate(EOPNOTSUPP, self->viommu_id, &inv,
				   IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				   sizeof(inv), &num_inv);
}

TEST_F(tsm, req)
{
	struct iommu_test_tdi_req req = {
		.tsm_code = CODE,
		.resp_len = 40,
		.resp_byte = 0x5a,
	};
	unsigned char resp[64] = {};
	struct iommu_vdevice_tsm_req cmd;
	int i;

	/* Not bound */
	cmd = good_req(self->vdev_id, &req, resp, sizeof(resp));
	EXPECT_ERRNO(ENXIO, send_req(self->fd, &cmd));
	EXPECT_EQ(0, cmd.tsm_code);

	ASSERT_EQ(0, do_bind());
	cmd = good_req(self->vdev_id, &req, resp, sizeof(resp));
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(CODE, cmd.tsm_code);
	EXPECT_EQ(40, cmd.resp_len);
	for (i = 0; i < 64; i++)
		EXPECT_EQ(i < 40 ? 0x5a : 0, resp[i]);

	/* No room for all of it, or for any */
	memset(resp, 0, sizeof(resp));
	cmd = good_req(self->vdev_id, &req, resp, 8);
	cmd.op = IOMMU_VDEVICE_TSM_STATE_CHANGE;
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(8, cmd.resp_len);
	EXPECT_EQ(0x5a, resp[7]);
	EXPECT_EQ(0, resp[8]);

	cmd = good_req(self->vdev_id, &req, NULL, 0);
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(0, cmd.resp_len);

	ASSERT_EQ(0, do_unbind());
	cmd = good_req(self->vdev_id, &req, resp, sizeof(resp));
	EXPECT_ERRNO(ENXIO, send_req(self->fd, &cmd));
}

/* What the TSM says to a request that it refuses is for the VM */
TEST_F(tsm, req_refused)
{
	struct iommu_test_tdi_req req = {
		.error = EREMOTEIO,
		.tsm_code = CODE,
		.resp_len = 8,
		.resp_byte = 0x5a,
	};
	unsigned char resp[8] = {};
	struct iommu_vdevice_tsm_req cmd;

	ASSERT_EQ(0, do_bind());
	cmd = good_req(self->vdev_id, &req, resp, sizeof(resp));
	EXPECT_ERRNO(EREMOTEIO, send_req(self->fd, &cmd));
	EXPECT_EQ(CODE, cmd.tsm_code);
	EXPECT_EQ(sizeof(resp), cmd.resp_len);
	EXPECT_EQ(0, resp[0]);
	expect_bound(VIRT_ID);

	req.error = 0;
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(0x5a, resp[0]);
}

#define expect_req(_errno, _field, _value)					\
({										\
	struct iommu_vdevice_tsm_req _cmd =					\
		good_req(self->vdev_id, &req, resp, sizeof(resp));		\
										\
	_cmd._field = (_value);							\
	EXPECT_ERRNO(_errno, send_req(self->fd, &_cmd));			\
	/* The TSM was not reached */						\
	EXPECT_EQ(0, _cmd.tsm_code);						\
})

TEST_F(tsm, req_errors)
{
	struct iommu_test_tdi_req req = { .resp_len = 8, .tsm_code = CODE };
	struct iommu_vdevice_tsm_req cmd;
	unsigned char resp[8];
	void *hole;

	ASSERT_EQ(0, do_bind());

	cmd = good_req(self->vdev_id, &req, resp, sizeof(resp));
	cmd.size--;
	EXPECT_ERRNO(EINVAL, send_req(self->fd, &cmd));
	expect_req(ENOENT, vdevice_id, 0);
	expect_req(ENOENT, vdevice_id, self->idev_id);
	expect_req(EOPNOTSUPP, op, IOMMU_VDEVICE_TSM_STATE_CHANGE + 1);
	expect_req(EOPNOTSUPP, tvm_arch, 0);
	expect_req(EOPNOTSUPP, tvm_arch, IOMMU_TVM_ARCH_TDX);
	expect_req(EINVAL, req_len, MAX_LEN + 1);
	expect_req(EINVAL, req_len, -1U);
	expect_req(EINVAL, resp_len, MAX_LEN + 1);
	expect_req(EINVAL, resp_len, -1U);
	expect_req(EFAULT, req_uptr, 0);
	/* The mock wants all of its own, and within bounds */
	expect_req(EINVAL, req_len, sizeof(req) - 1);
	expect_req(EINVAL, req_len, 0);
	req.error = -64;
	expect_req(EINVAL, resp_len, sizeof(resp));
	req.error = 0;
	req.delay_ms = IOMMU_TEST_TDI_MAX_DELAY + 1;
	expect_req(EINVAL, resp_len, sizeof(resp));
	req.delay_ms = 0;

	/* A response that is lost has a result nevertheless */
	cmd = good_req(self->vdev_id, &req, NULL, sizeof(resp));
	EXPECT_ERRNO(EFAULT, send_req(self->fd, &cmd));
	EXPECT_EQ(CODE, cmd.tsm_code);
	EXPECT_EQ(sizeof(resp), cmd.resp_len);

	/* A response ends in the middle of it, one that is not written does not */
	hole = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, hole);
	ASSERT_EQ(0, munmap(hole + PAGE_SIZE, PAGE_SIZE));
	req.resp_len = 2 * PAGE_SIZE;
	cmd = good_req(self->vdev_id, &req, hole, 2 * PAGE_SIZE);
	EXPECT_ERRNO(EFAULT, send_req(self->fd, &cmd));
	req.resp_len = PAGE_SIZE;
	cmd = good_req(self->vdev_id, &req, hole, 2 * PAGE_SIZE);
	EXPECT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(PAGE_SIZE, cmd.resp_len);
	ASSERT_EQ(0, munmap(hole, PAGE_SIZE));

	expect_bound(VIRT_ID);
}

TEST_F(tsm, req_longest)
{
	struct iommu_test_tdi_req *req;
	struct iommu_vdevice_tsm_req cmd;
	unsigned char *resp;

	req = calloc(1, MAX_LEN);
	resp = calloc(1, MAX_LEN);
	ASSERT_TRUE(req && resp);
	req->resp_len = MAX_LEN;
	req->resp_byte = 0xa5;

	ASSERT_EQ(0, do_bind());
	cmd = good_req(self->vdev_id, req, resp, MAX_LEN);
	cmd.req_len = MAX_LEN;
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(MAX_LEN, cmd.resp_len);
	EXPECT_EQ(0xa5, resp[0]);
	EXPECT_EQ(0xa5, resp[MAX_LEN - 1]);
	free(req);
	free(resp);
}

/* A driver that says that its response is longer than it can be */
TEST_F(tsm, req_excess)
{
	static const __u32 room[] = { 0, 1, 64, MAX_LEN };
	struct iommu_test_tdi_req req = { .tsm_code = CODE, .resp_byte = 0xa5 };
	struct iommu_vdevice_tsm_req cmd;
	unsigned char *resp;
	int i;

	/* It would be seen to be written to, even if it is beyond the room */
	resp = calloc(1, MAX_LEN + PAGE_SIZE);
	ASSERT_NE(NULL, resp);
	ASSERT_EQ(0, do_bind());

	for (i = 0; i < ARRAY_SIZE(room); i++) {
		req.resp_len = room[i];
		for (req.excess = 1; req.excess <= PAGE_SIZE;
		     req.excess += PAGE_SIZE - 1) {
			cmd = good_req(self->vdev_id, &req, resp, room[i]);
			EXPECT_ERRNO(EIO, send_req(self->fd, &cmd));
			EXPECT_EQ(CODE, cmd.tsm_code);
			EXPECT_EQ(room[i], cmd.resp_len);
			EXPECT_EQ(0, resp[0]);
			EXPECT_EQ(0, resp[room[i]]);
		}
	}

	/* All the room that there is, with nothing in it but the response */
	req.resp_len = 8;
	req.excess = 56;
	memset(resp, 0xff, 65);
	cmd = good_req(self->vdev_id, &req, resp, 64);
	ASSERT_EQ(0, send_req(self->fd, &cmd));
	EXPECT_EQ(64, cmd.resp_len);
	for (i = 0; i < 64; i++)
		EXPECT_EQ(i < 8 ? 0xa5 : 0, resp[i]);
	EXPECT_EQ(0xff, resp[64]);
	free(resp);
	expect_bound(VIRT_ID);
}

/* A request in a thread of its own */
struct request {
	pthread_t thread;
	int fd;
	struct iommu_vdevice_tsm_req cmd;
	struct iommu_test_tdi_req req;
	int error;
	int done;
};

static void *request_thread(void *arg)
{
	struct request *request = arg;

	request->error = send_req(request->fd, &request->cmd) ? errno : 0;
	__atomic_store_n(&request->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int request_start(struct request *request, int fd, __u32 vdev_id,
			 unsigned int delay_ms)
{
	request->fd = fd;
	request->done = 0;
	request->req = (struct iommu_test_tdi_req) {
		.delay_ms = delay_ms,
		.tsm_code = CODE,
	};
	request->cmd = good_req(vdev_id, &request->req, NULL, 0);
	return pthread_create(&request->thread, NULL, request_thread, request);
}

#define request_done(_request) __atomic_load_n(&(_request)->done, __ATOMIC_SEQ_CST)

/*
 * A request takes its time, and the vDEVICE or the device goes meanwhile. That
 * waits for the request, and neither fails nor leaks.
 */
FIXTURE(tsm_slow)
{
	FIXTURE_DATA(tsm) tsm;
	struct request request;
};

FIXTURE_VARIANT(tsm_slow)
{
	bool device;
};

FIXTURE_VARIANT_ADD(tsm_slow, vdevice)
{
};

FIXTURE_VARIANT_ADD(tsm_slow, device)
{
	.device = true,
};

FIXTURE_SETUP(tsm_slow)
{
	tsm_setup(_metadata, &self->tsm, NULL);
}

FIXTURE_TEARDOWN(tsm_slow)
{
	tsm_teardown(_metadata, &self->tsm, NULL);
}

TEST_F(tsm_slow, destroy)
{
	__u32 id = variant->device ? self->tsm.stdev_id : self->tsm.vdev_id;
	struct tdi_state state;

	ASSERT_EQ(0, _test_cmd_tsm_op(self->tsm.fd, self->tsm.vdev_id,
				      IOMMU_VDEVICE_TSM_BIND));
	ASSERT_EQ(0, request_start(&self->request, self->tsm.fd,
				   self->tsm.vdev_id, 2000));
	usleep(500000);
	ASSERT_FALSE(request_done(&self->request));

	EXPECT_EQ(0, _test_ioctl_destroy(self->tsm.fd, id));
	/* Still bound when it was answered, or it would have failed */
	ASSERT_EQ(0, pthread_join(self->request.thread, NULL));
	EXPECT_EQ(0, self->request.error);
	EXPECT_EQ(CODE, self->request.cmd.tsm_code);

	ASSERT_EQ(0, _test_cmd_tdi_state(self->tsm.fd, 0, &state));
	EXPECT_EQ(0, state.nr_bound);
}

/*
 * The vDEVICE goes, by its ID, and waits for the request; then the device, and
 * waits for the vDEVICE. The request takes longer than the minute after which an
 * object is given up that is still in use.
 */
struct destroyer {
	pthread_t thread;
	int fd;
	__u32 id;
	int error;
};

static void *destroyer_thread(void *arg)
{
	struct destroyer *destroyer = arg;

	destroyer->error = _test_ioctl_destroy(destroyer->fd, destroyer->id) ?
				   errno : 0;
	return NULL;
}

TEST_F_TIMEOUT(tsm, destroy_both, 150)
{
	struct destroyer destroyer = { .fd = self->fd, .id = self->vdev_id };
	struct request request;
	struct tdi_state state;

	ASSERT_EQ(0, do_bind());
	ASSERT_EQ(0, request_start(&request, self->fd, self->vdev_id, 70000));
	usleep(500000);
	ASSERT_EQ(0, pthread_create(&destroyer.thread, NULL, destroyer_thread,
				    &destroyer));
	usleep(500000);
	EXPECT_ERRNO(ENOENT, do_unbind());
	ASSERT_FALSE(request_done(&request));

	EXPECT_EQ(0, _test_ioctl_destroy(self->fd, self->stdev_id));
	ASSERT_EQ(0, pthread_join(request.thread, NULL));
	EXPECT_EQ(0, request.error);
	EXPECT_EQ(CODE, request.cmd.tsm_code);
	ASSERT_EQ(0, pthread_join(destroyer.thread, NULL));
	EXPECT_EQ(0, destroyer.error);

	ASSERT_EQ(0, _test_cmd_tdi_state(self->fd, 0, &state));
	EXPECT_EQ(0, state.nr_bound);
}

static void nothing(int sig)
{
}

/* A signal ends what waits for the TSM */
TEST_F(tsm_slow, signal)
{
	struct sigaction action = { .sa_handler = nothing };

	if (variant->device)
		SKIP(return, "nothing is destroyed here");

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, _test_cmd_tsm_op(self->tsm.fd, self->tsm.vdev_id,
				      IOMMU_VDEVICE_TSM_BIND));
	ASSERT_EQ(0, request_start(&self->request, self->tsm.fd,
				   self->tsm.vdev_id, 20000));
	usleep(500000);
	ASSERT_EQ(0, pthread_kill(self->request.thread, SIGUSR1));
	ASSERT_EQ(0, pthread_join(self->request.thread, NULL));
	EXPECT_EQ(EINTR, self->request.error);
	EXPECT_EQ(0, _test_cmd_tsm_op(self->tsm.fd, self->tsm.vdev_id,
				      IOMMU_VDEVICE_TSM_UNBIND));
}

/*
 * Nobody knows when a page fault on the request or the response ends. Whatever
 * else there is to do with the vDEVICE does not wait for that.
 */
TEST_F(tsm, page_fault)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero = {};
	struct request request;
	struct uffd_msg msg;
	int uffd, write;
	void *page;

	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));

	for (write = 0; write < 2; write++) {
		page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, page);
		reg.range.start = (uintptr_t)page;
		reg.range.len = PAGE_SIZE;
		ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));

		ASSERT_EQ(0, do_bind());
		request = (struct request) {
			.fd = self->fd,
			.req = { .resp_len = 8, .tsm_code = CODE },
		};
		if (write)
			request.cmd = good_req(self->vdev_id, &request.req,
					       page, 8);
		else
			request.cmd = good_req(self->vdev_id, page, NULL, 0);
		ASSERT_EQ(0, pthread_create(&request.thread, NULL,
					    request_thread, &request));
		ASSERT_EQ(sizeof(msg), read(uffd, &msg, sizeof(msg)));
		ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

		EXPECT_EQ(0, do_unbind());
		EXPECT_EQ(0, do_bind());
		EXPECT_EQ(0, _test_ioctl_destroy(self->fd, self->vdev_id));
		expect_unbound();
		EXPECT_FALSE(request_done(&request));

		zero.range = reg.range;
		ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
		ASSERT_EQ(0, pthread_join(request.thread, NULL));
		/* The request was not sent yet, the response was on its way */
		EXPECT_EQ(write ? 0 : ENOENT, request.error);

		ASSERT_EQ(0, munmap(page, PAGE_SIZE));
		test_cmd_vdevice_alloc(self->viommu_id, self->idev_id, VIRT_ID,
				       &self->vdev_id);
	}
	close(uffd);
}

/* Binds, requests, and vDEVICEs that come and go, all at once */
struct racer {
	pthread_t thread;
	int fd;
	__u32 *vdev_id;
	int *stop;
	unsigned int what;
	unsigned long done;
	int error;
};

static void *racer_thread(void *arg)
{
	struct iommu_test_tdi_req req = {};
	struct iommu_vdevice_tsm_req cmd;
	struct racer *racer = arg;
	int ret;

	while (!__atomic_load_n(racer->stop, __ATOMIC_RELAXED)) {
		__u32 id = __atomic_load_n(racer->vdev_id, __ATOMIC_RELAXED);

		if (racer->what == 2) {
			cmd = good_req(id, &req, NULL, 0);
			ret = send_req(racer->fd, &cmd);
		} else {
			ret = _test_cmd_tsm_op(racer->fd, id, racer->what);
		}
		if (!ret)
			racer->done++;
		else if (errno != ENOENT && errno != EBUSY && errno != ENXIO)
			racer->error = errno;
	}
	return NULL;
}

TEST_F_TIMEOUT(tsm, race, 120)
{
	struct racer racers[3] = {};
	unsigned long rounds = 0;
	int stop = 0;
	int i, ret;

	for (i = 0; i < 3; i++) {
		racers[i].fd = self->fd;
		racers[i].vdev_id = &self->vdev_id;
		racers[i].stop = &stop;
		racers[i].what = i;
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL,
					    racer_thread, &racers[i]));
	}

	for (i = 0; i < 50; i++) {
		__u32 id = 0;

		usleep(5000);
		/* Busy while one of them looks it up */
		ret = _test_ioctl_destroy(self->fd, self->vdev_id);
		if (ret) {
			EXPECT_EQ(EBUSY, errno);
			continue;
		}
		rounds++;
		EXPECT_EQ(0, _test_cmd_vdevice_alloc(self->fd, self->viommu_id,
						     self->idev_id, VIRT_ID,
						     &id));
		__atomic_store_n(&self->vdev_id, id, __ATOMIC_RELAXED);
	}

	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		EXPECT_EQ(0, racers[i].error);
		EXPECT_NE(0, racers[i].done);
	}
	EXPECT_NE(0, rounds);
}

TEST_HARNESS_MAIN
