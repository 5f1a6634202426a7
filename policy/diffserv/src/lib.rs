//! Classifier, meters, markers, queues.
