"""Define a network, print its tables, train it for an epoch, print the log, evaluate.

python examples/first_steps.py
"""

import kilonet as kn

net = kn.Net(
    input=(1, 28, 28),
    block=["conv", "relu", "batchnorm"],
    layers=["conv 8", "maxpool 2", "conv 12", "conv 16", "gap", "pointwise 10 bare"],
)
print(kn.summarize(net))

run = kn.Run(net=net, train=kn.Train(epochs=1))
with kn.RunProgress() as progress:
    record = kn.train(run, resume=True, observer=progress)
print(record.log_table)

model = record.model()
mnist = kn.load_dataset("mnist")
print(model.evaluate(mnist.test_images, mnist.test_labels))
