"""A task is data + objective + head + metric."""

from tlearn.tasks.image_classification import ImageTask as ImageTask
from tlearn.tasks.image_classification import image_classification as image_classification
from tlearn.tasks.task import Task as Task
from tlearn.tasks.task import TaskBatches as TaskBatches
from tlearn.tasks.text_classification import TextTask as TextTask
from tlearn.tasks.text_classification import text_classification as text_classification
